"""Temperature, top-k and nucleus as one object: how logits become the distribution that is drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdbench.models.decoding import warpers

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Warp:
    """Temperature 0 is greedy: all mass on the most probable token. `top_k` 0 keeps every token."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """[positions, vocabulary] in float32, renormalised over the tokens that are kept."""
        import torch

        scores = logits.float()
        if self.temperature == 0:
            best = scores.argmax(-1, keepdim=True)
            return torch.zeros_like(scores).scatter_(-1, best, 1.0)
        for warper in warpers(self.temperature, self.top_k, self.top_p, {}):
            scores = warper(None, scores)
        return scores.softmax(-1)
