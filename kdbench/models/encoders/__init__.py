"""Networks that turn images into features, each with the resizing and normalisation that make its dialect."""
