"""The task families that come with kdbench: importing this module registers them."""

from kdbench.tasks import code, efficiency, fidelity, geneval, reasoning, sampled

__all__ = ["code", "efficiency", "fidelity", "geneval", "reasoning", "sampled"]
