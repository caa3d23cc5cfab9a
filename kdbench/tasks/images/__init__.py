"""The images family: sets of generated images, and pairs of them from the same noise, scored in one pass."""
