"""The sample store, the tidy table and the record of where numbers came from."""
