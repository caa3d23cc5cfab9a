"""Protocols that models speak, and the adapters that make real models speak them."""
