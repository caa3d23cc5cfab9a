"""The task families that come with kdbench: importing this module registers them."""

from kdbench.tasks import code, efficiency, fidelity, geneval, reasoning, sampled
from kdbench.tasks.images import drawn, equal_noise, scored
from kdbench.tasks.speculative import loop, replay, text

__all__ = [
    "code",
    "drawn",
    "efficiency",
    "equal_noise",
    "fidelity",
    "geneval",
    "loop",
    "reasoning",
    "replay",
    "sampled",
    "scored",
    "text",
]
