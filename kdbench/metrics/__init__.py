"""Pure functions on arrays: what is measured, to be read beside the paper that it comes from."""
