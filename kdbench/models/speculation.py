"""Speculative decoding, written to be read: drafts, one pass of the target, accept or correct.

Algorithm 1 of Leviathan et al. (2023), "Fast inference from transformers via speculative decoding", one text
at a time. Greedy decoding is the case in which both distributions have all their mass on one token. Where it
must be fast, take an engine; this loop is what replay and engines are checked against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kdbench.models.prompt_lookup import PromptLookup
from kdbench.models.scoring import check_ids
from kdbench.models.warping import Warp

if TYPE_CHECKING:
    import torch


class Reader(Protocol):
    """A model that has read `length` tokens, and knows those below `vocabulary`."""

    length: int
    vocabulary: int

    def read(self, tokens: Sequence[int]) -> torch.Tensor:
        """Probabilities [tokens, vocabulary] of the token behind each of `tokens`."""
        ...

    def forget(self, length: int) -> None:
        """Keep only the first `length` tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Cycle:
    """One pass of the target, for the text from `start` on: drafts proposed, and those accepted."""

    start: int
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Course:
    """A text and the cycles that wrote it."""

    ids: list[int] = field(default_factory=list)
    cycles: list[Cycle] = field(default_factory=list)

    @property
    def tested(self) -> int:
        """Drafts that the target judged: all accepted ones, and the one that it rejected."""
        return sum(min(one.accepted + 1, one.drafted) for one in self.cycles)

    @property
    def accepted(self) -> int:
        return sum(one.accepted for one in self.cycles)


def speculate(
    target: Reader,
    draft: Reader | PromptLookup,
    prompt: Sequence[int],
    gamma: int,
    max_new_tokens: int,
    ends: frozenset[int],
    generator: torch.Generator,
) -> Course:
    """Text behind `prompt`, until one of the tokens `ends` or `max_new_tokens`.

    What a cycle emits behind the end of the text is thrown away, and no draft is made there; so the course
    counts as `kdbench.metrics.replay` does.
    """
    course = Course()
    while len(course.ids) < max_new_tokens and not ends.intersection(course.ids[-1:]):
        known = [*prompt, *course.ids]
        room = max_new_tokens - len(course.ids)
        drafts, offers = _propose(draft, known, min(gamma, room), ends, generator)
        # a token that the target does not know can't stand, whatever comes after it
        readable = next((i for i, t in enumerate(drafts) if t >= target.vocabulary), len(drafts))
        beliefs = target.read([*known[target.length :], *drafts[:readable]])[-readable - 1 :]
        kept = _accepted(drafts, offers, beliefs, generator)
        if kept == len(drafts):
            correction = _drawn(beliefs[kept], generator)
        else:
            correction = _drawn(_residual(beliefs[kept], drafts[kept], offers, kept), generator)
        emitted = _up_to_end([*drafts[:kept], correction], ends)[:room]
        course.cycles.append(Cycle(len(course.ids), len(drafts), min(kept, len(emitted))))
        course.ids.extend(emitted)
        target.forget(min(target.length, len(known) + kept))
        if not isinstance(draft, PromptLookup):
            draft.forget(min(draft.length, len(known) + kept))
    return course


def _propose(
    draft: Reader | PromptLookup,
    known: Sequence[int],
    count: int,
    ends: frozenset[int],
    generator: torch.Generator,
) -> tuple[list[int], list[torch.Tensor]]:
    """Draft tokens and the distributions that they were drawn from (none for a lookup, which is certain)."""
    if isinstance(draft, PromptLookup):
        return _up_to_end(draft.draft_tokens(known, count), ends), []
    drafts: list[int] = []
    offers: list[torch.Tensor] = []
    while len(drafts) < count and not ends.intersection(drafts[-1:]):
        unread = [*known, *drafts][draft.length :]
        offers.append(draft.read(unread)[-1])
        drafts.append(_drawn(offers[-1], generator))
    return drafts, offers


def _accepted(
    drafts: Sequence[int],
    offers: Sequence[torch.Tensor],
    beliefs: torch.Tensor,
    generator: torch.Generator,
) -> int:
    """How many drafts stand: each with probability min(1, p/q), up to the first that falls."""
    import torch

    for place, token in enumerate(drafts):
        believed = float(beliefs[place, token]) if place < len(beliefs) - 1 else 0.0
        offered = float(offers[place][token]) if offers else 1.0
        if float(torch.rand((), generator=generator)) * offered >= believed:
            return place
    return len(drafts)


def _residual(
    belief: torch.Tensor, token: int, offers: Sequence[torch.Tensor], place: int
) -> torch.Tensor:
    """max(0, p - q), which a rejected draft leaves to draw from; over the target's vocabulary."""
    import torch

    rest = belief.clone()
    if offers:
        shared = min(len(rest), len(offers[place]))
        rest[:shared] -= offers[place][:shared]
    elif token < len(rest):
        rest[token] -= 1
    rest = rest.clamp(min=0)
    # p = q but for rounding: nothing could have been rejected
    return rest if bool(rest.sum() > 0) else torch.as_tensor(belief)


def _drawn(weights: torch.Tensor, generator: torch.Generator) -> int:
    import torch

    return int(torch.multinomial(weights, 1, generator=generator))


def _up_to_end(tokens: Sequence[int], ends: frozenset[int]) -> list[int]:
    """`tokens` up to the first that ends a text, that one included."""
    for place, token in enumerate(tokens):
        if token in ends:
            return list(tokens[: place + 1])
    return list(tokens)


class CachedReader:
    """A transformers causal language model with its cache, under a warp; probabilities on the CPU."""

    def __init__(self, model: Any, warp: Warp) -> None:
        self.model = model
        self.warp = warp
        self.length = 0
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self._cache: Any = None

    def read(self, tokens: Sequence[int]) -> torch.Tensor:
        import torch
        from transformers import DynamicCache

        check_ids(tokens, self.vocabulary)
        if self._cache is None:
            self._cache = DynamicCache(config=self.model.config)
        ids = torch.tensor([list(tokens)], device=self.model.device)
        with torch.inference_mode():
            given = {"input_ids": ids, "past_key_values": self._cache, "use_cache": True}
            logits = self.model(**given).logits[0]
            self.length += len(tokens)
            return self.warp.probabilities(logits).cpu()

    def forget(self, length: int) -> None:
        if length < self.length:
            self._cache.crop(length - self.length)
            self.length = length
