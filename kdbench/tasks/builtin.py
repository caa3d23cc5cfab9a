"""The task families that come with kdbench: importing this module registers them."""

from kdbench.tasks import code, fidelity, reasoning, sampled
from kdbench.tasks.speculative import loop, replay, text

__all__ = ["code", "fidelity", "loop", "reasoning", "replay", "sampled", "text"]
