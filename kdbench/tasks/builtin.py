"""The task families that come with kdbench: importing this module registers them."""

from kdbench.tasks import code, fidelity, geneval, reasoning, sampled

__all__ = ["code", "fidelity", "geneval", "reasoning", "sampled"]
