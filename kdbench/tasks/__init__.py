"""Recipes of measurement, one module per family."""
