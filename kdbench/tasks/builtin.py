"""The task families that come with kdbench: importing this module registers them."""

from kdbench.tasks import reasoning

__all__ = ["reasoning"]
