"""What hangs into transformers' decoding loop: warping, noise, a watch for NaN, and stop strings.

The loop only calls these objects, so they need no base class of the library, and importing this
module no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdbench.models.sampling import gumbel_noise

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessorList, StoppingCriteriaList

    from kdbench.models.generation import Settings
    from kdbench.models.tokens import TextEncoder


class NonsenseWatch:
    """Remembers, on the device, whether any step's logits held NaN or no finite number at all."""

    def __init__(self) -> None:
        self._bad: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        best = scores.amax(-1)
        bad = (~torch.isfinite(best)).any()
        self._bad = bad if self._bad is None else self._bad | bad
        return scores

    def failed(self) -> bool:
        """One transfer from the device, after the batch."""
        return self._bad is not None and bool(self._bad)


class SeededNoise:
    """Adds each row's own Gumbel noise: the largest logit becomes a draw from the distribution."""

    def __init__(self, seeds: torch.Tensor, prompt_length: int) -> None:
        self.seeds = seeds
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self.prompt_length
        return scores + gumbel_noise(self.seeds, step, scores.shape[1])


def processors(
    settings: Settings, seeds: torch.Tensor, prompt_length: int
) -> tuple[LogitsProcessorList, NonsenseWatch]:
    """The chain for one batch, in Hugging Face's order (temperature, top-k, top-p, min-p, then
    noise); temperature 0 leaves the watch alone in it.
    """
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    watch = NonsenseWatch()
    chain = LogitsProcessorList([watch])
    if settings.temperature > 0:
        options = dict(settings.options)
        if settings.temperature != 1:
            chain.append(TemperatureLogitsWarper(settings.temperature))
        if settings.top_k:
            chain.append(TopKLogitsWarper(settings.top_k))
        if settings.top_p < 1:
            chain.append(TopPLogitsWarper(settings.top_p))
        if "min_p" in options:
            chain.append(MinPLogitsWarper(options["min_p"]))
        chain.append(SeededNoise(seeds, prompt_length))
    return chain, watch


class StopTexts:
    """Ends a row once its new text contains one of its stop strings."""

    def __init__(
        self, encoder: TextEncoder, stops: Sequence[tuple[str, ...]], prompt_length: int
    ) -> None:
        self.encoder = encoder
        self.stops = stops
        self.prompt_length = prompt_length
        self.done = [False] * len(stops)
        # A token is at least a byte, so a tail of so many tokens holds a stop string that just
        # ended.
        longest = max((len(stop.encode()) for row in stops for stop in row), default=0)
        self.tail = longest + 4

    def criteria(self) -> StoppingCriteriaList:
        """Empty where no row has a stop string."""
        from transformers import StoppingCriteriaList

        return StoppingCriteriaList([self] if any(self.stops) else [])

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        import torch

        new = input_ids.shape[1] - self.prompt_length
        tails = input_ids[:, -min(self.tail, new) :].tolist()
        for row, tail in enumerate(tails):
            if not self.done[row] and self._hit(row, tail):
                # The tail may begin in the middle of a character: the whole text decides.
                self.done[row] = self._hit(row, input_ids[row, self.prompt_length :].tolist())
        return torch.tensor(self.done, device=input_ids.device)

    def _hit(self, row: int, tokens: list[int]) -> bool:
        text = self.encoder.decode(tokens, special=True)
        return any(stop in text for stop in self.stops[row])
