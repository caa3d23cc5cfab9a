"""The task families that come with kdbench: importing this module registers them."""

from kdbench.tasks import code, efficiency, fidelity, reasoning, sampled
from kdbench.tasks.speculative import loop, replay, text

__all__ = ["code", "efficiency", "fidelity", "loop", "reasoning", "replay", "sampled", "text"]
