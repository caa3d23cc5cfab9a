"""The task families that come with kdbench: importing this module registers them."""

from kdbench.tasks import fidelity, reasoning, sampled

__all__ = ["fidelity", "reasoning", "sampled"]
