"""The commands, one module for each job. Heavy imports happen inside them."""
