"""What a decoding step does to logits, and how it knows that a row has met its stop string.

kdbench's own loop and transformers' call the same objects. They need no base class of the library, and
importing this module no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdbench.models.sampling import gumbel_noise

if TYPE_CHECKING:
    import torch

    from kdbench.models.tokens import TextEncoder

    Warper = Callable[[Any, torch.Tensor], torch.Tensor]


class NonsenseWatch:
    """Remembers, on the device, whether any step's logits held NaN or no finite number at all."""

    def __init__(self) -> None:
        self._bad: torch.Tensor | None = None

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        self.note(scores.amax(-1))
        return scores

    def note(self, best: torch.Tensor) -> None:
        """`best` has the largest of each row's logits."""
        import torch

        bad = (~torch.isfinite(best)).any()
        self._bad = bad if self._bad is None else self._bad | bad

    def failed(self) -> bool:
        """One transfer from the device."""
        return self._bad is not None and bool(self._bad)


class SeededNoise:
    """Adds each row's own Gumbel noise: the largest logit becomes a draw from the distribution."""

    def __init__(self, seeds: torch.Tensor, prompt_length: int) -> None:
        self.seeds = seeds
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self.prompt_length
        return scores + gumbel_noise(self.seeds, step, scores.shape[1])


def warpers(
    temperature: float, top_k: int, top_p: float, options: Mapping[str, Any]
) -> list[Warper]:
    """Temperature, top-k, top-p and min-p, in Hugging Face's order; none for temperature 0."""
    from transformers import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    chain: list[Warper] = []
    if temperature > 0:
        if temperature != 1:
            chain.append(TemperatureLogitsWarper(temperature))
        if top_k:
            chain.append(TopKLogitsWarper(top_k))
        if top_p < 1:
            chain.append(TopPLogitsWarper(top_p))
        if "min_p" in options:
            chain.append(MinPLogitsWarper(options["min_p"]))
    return chain


class Penalties:
    """Repetition penalty, banned n-grams and a least length, as transformers applies them to a text
    without padding: what stands left of a shorter prompt is never penalised."""

    def __init__(self, options: Mapping[str, Any], ends: frozenset[int]) -> None:
        from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

        self.ends = sorted(ends)
        self.least = int(options.get("min_new_tokens") or 0)
        self.by_text: list[Warper] = []
        penalty, size = options.get("repetition_penalty"), options.get("no_repeat_ngram_size")
        if penalty is not None and penalty != 1:
            self.by_text.append(RepetitionPenaltyLogitsProcessor(penalty=float(penalty)))
        if size:
            self.by_text.append(NoRepeatNGramLogitsProcessor(int(size)))

    def __call__(
        self, texts: Iterable[tuple[Sequence[int], Sequence[int]]], scores: torch.Tensor
    ) -> torch.Tensor:
        """`scores` [rows, vocabulary] of the next token of each (prompt, answer so far)."""
        import torch

        if not (self.by_text or self.least):
            return scores
        for row, (prompt, new) in enumerate(texts):
            if self.by_text:
                ids = torch.tensor([[*prompt, *new]], device=scores.device)
                for warper in self.by_text:
                    scores[row : row + 1] = warper(ids, scores[row : row + 1])
            if len(new) < self.least:
                scores[row, self.ends] = -float("inf")
        return scores


class StopText:
    """Knows whether a text contains one of its stop strings since its last token."""

    def __init__(self, encoder: TextEncoder, stops: Sequence[str]) -> None:
        self.encoder = encoder
        self.stops = stops
        # A token is at least a byte, so a tail of so many tokens holds a stop string that just
        # ended.
        self.tail = max((len(stop.encode()) for stop in stops), default=0) + 4
        self._ends: dict[int, bool] = {}

    def hit(self, tokens: Sequence[int]) -> bool:
        """Whether the text of `tokens` contains a stop string; its last token decides most cases."""
        if not self.stops or not self._may_end(tokens[-1]):
            return False
        tail = tokens[-self.tail :]
        # The tail may begin in the middle of a character: the whole text decides.
        return self._inside(tail) and (len(tail) == len(tokens) or self._inside(tokens))

    def _may_end(self, token: int) -> bool:
        """Whether a stop string can end in this token: it holds the last character of one, part of a
        character, or nothing that it would show alone."""
        if token not in self._ends:
            piece = self.encoder.decode([token], special=True)
            shown = f" {piece} "
            self._ends[token] = (
                not piece or "\ufffd" in piece or any(stop[-1] in shown for stop in self.stops)
            )
        return self._ends[token]

    def _inside(self, tokens: Sequence[int]) -> bool:
        text = self.encoder.decode(list(tokens), special=True)
        return any(stop in text for stop in self.stops)


class StopCriterion:
    """`StopText` of every row of a batch, in the shape that transformers' loop asks for."""

    def __init__(self, stops: Sequence[StopText], prompt_length: int) -> None:
        self.stops = stops
        self.prompt_length = prompt_length
        self.done = [False] * len(stops)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        import torch

        for row, new in enumerate(input_ids[:, self.prompt_length :].tolist()):
            self.done[row] = self.done[row] or self.stops[row].hit(new)
        return torch.tensor(self.done, device=input_ids.device)
