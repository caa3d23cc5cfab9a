"""The task families that come with kdbench: importing this module registers them."""

from kdbench.tasks import code, fidelity, geneval, reasoning, sampled
from kdbench.tasks.images import equal_noise, scored

__all__ = ["code", "equal_noise", "fidelity", "geneval", "reasoning", "sampled", "scored"]
