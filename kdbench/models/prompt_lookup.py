"""Drafts without a model: what followed the last few tokens where they first stood in prompt and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from kdbench.models.adapter import Adapter, AdapterParams
from kdbench.models.protocols import DRAFT_TOKENS
from kdbench.registry import adapter


class PromptLookupParams(AdapterParams):
    """`models.<name>` with `adapter: prompt_lookup`."""

    max_ngram: int = Field(
        2, ge=1, description="tokens that must recur; shorter ends are tried after"
    )


@dataclass(frozen=True, slots=True)
class PromptLookup:
    """The rule of transformers' PromptLookupCandidateGenerator: the longest end of the sequence, up to
    `max_ngram` tokens, that stood in it before; of several places the first.
    """

    max_ngram: int = 2

    def draft_tokens(self, tokens: Sequence[int], count: int) -> list[int]:
        """Up to `count` tokens that may follow `tokens`; none where nothing recurs."""
        for size in range(min(self.max_ngram, len(tokens) - 1), 0, -1):
            end = tuple(tokens[-size:])
            for start in range(len(tokens) - size):
                if tuple(tokens[start : start + size]) == end:
                    return list(tokens[start + size : start + size + count])
        return []

    def drafts(self, prompt: Sequence[int], text: Sequence[int], count: int) -> list[list[int]]:
        """`draft_tokens` before every token of `text`, in one walk: what a cycle that starts there gets."""
        tokens = [*prompt, *text]
        first: dict[tuple[int, ...], int] = {}
        found = []
        for end in range(1, len(tokens)):
            # the n-grams that end here may be found again from the next token on
            if end >= len(prompt):
                found.append(self._found(tokens[:end], first, count))
            for size in range(1, min(self.max_ngram, end) + 1):
                first.setdefault(tuple(tokens[end - size : end]), end)
        return found

    def _found(
        self, before: Sequence[int], first: dict[tuple[int, ...], int], count: int
    ) -> list[int]:
        for size in range(min(self.max_ngram, len(before) - 1), 0, -1):
            place = first.get(tuple(before[-size:]))
            if place is not None:
                return list(before[place : place + count])
        return []


@adapter("prompt_lookup")
class PromptLookupAdapter(Adapter):
    about = (
        "no model: a draft that repeats what followed the last tokens before (speculative tasks)"
    )
    Params = PromptLookupParams

    def verbs(self) -> frozenset[str]:
        return frozenset({DRAFT_TOKENS})

    def check(self) -> None:
        """There is nothing that could be missing."""

    def fingerprint(self) -> dict[str, str]:
        return {"adapter": f"{self.name}/1", "max_ngram": str(self.params.max_ngram)}

    def load(self) -> PromptLookup:
        return PromptLookup(self.params.max_ngram)
