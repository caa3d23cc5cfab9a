"""What tasks on chains of drafts share: the text that drafts are judged on, and what they meet there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from kdbench.errors import TaskError
from kdbench.models.prompt_lookup import PromptLookup
from kdbench.models.protocols import DRAFT_DISTRIBUTIONS, DRAFT_TOKENS, SCORE_TOKENS
from kdbench.models.tokens import TokenRow
from kdbench.results.sample import Sample
from kdbench.tasks.speculative.prompts import PromptedTask, PromptParams
from kdbench.tasks.speculative.text import SpeculativeText
from kdbench.tasks.task import ModelTask, PairTask

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdbench.models.warping import Warp


def _lengths(gamma: list[int]) -> list[int]:
    if any(not 1 <= g <= 64 for g in gamma):
        raise ValueError(f"gamma lies within 1 and 64, got {gamma}")
    return sorted(set(gamma))


Chains = Annotated[
    list[int], AfterValidator(_lengths), Field(min_length=1, description="drafts in a chain")
]


class DraftParams(PromptParams):
    """Prompts, and how long the chains are."""

    gamma: Chains


class DraftTask(PromptedTask, PairTask):
    """A student as its teacher's draft, on text that the teacher writes in a cell of its own."""

    same_tokenizer = True

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "gamma": self.params.gamma}

    def verbs(self) -> frozenset[str]:
        return self._chat_verbs() | {SCORE_TOKENS}

    def student_verbs(self, has: frozenset[str]) -> frozenset[str]:
        ways = (DRAFT_TOKENS, DRAFT_DISTRIBUTIONS)
        return frozenset({next((way for way in ways if way in has), SCORE_TOKENS)})

    def basis(self) -> ModelTask | None:
        own = {name: getattr(self.params, name) for name in PromptParams.model_fields}
        return SpeculativeText(PromptParams(**own), self.folder)


def check_fit(label: str, student: Any, rows: Sequence[TokenRow]) -> None:
    """Raise `TaskError` for texts that a draft can't read whole; a lookup reads everything."""
    longest = max((len(row.tokens) for row in rows), default=0) - 1
    if not isinstance(student, PromptLookup) and longest > student.encoder.max_length:
        raise TaskError(
            f"{label}: prompt and text have {longest} tokens, and the draft's context only "
            f"{student.encoder.max_length}; ask for fewer max_new_tokens, or set the target's "
            "max_length to the draft's"
        )


def chances_on(
    teacher: Any, student: Any, rows: Sequence[TokenRow], warp: Warp, depth: int
) -> list[npt.NDArray[np.float64]]:
    """Acceptance of the student's drafts on each row, as `kdbench.metrics.replay` takes it."""
    import numpy as np

    if isinstance(student, PromptLookup):
        return [looked_up(student, row, depth) for row in rows]
    from kdbench.models.pair_scoring import accepted

    return [np.array(one.chance) for one in accepted(teacher, student, rows, warp)]


def row_of(teacher: Any, sample: Sample, max_new_tokens: int) -> TokenRow:
    """A text's tokens behind its prompt's, cut on the left as generation cuts it."""
    room = teacher.encoder.max_length - max_new_tokens
    (prompt,) = teacher.encoder.prompts([sample.prompt])
    ids = sample.extra["ids"]
    return TokenRow((*prompt[-room:], *ids), len(ids))


def looked_up(lookup: PromptLookup, row: TokenRow, depth: int) -> npt.NDArray[np.float64]:
    """[tokens, depth]: 1 where a lookup made at the cycle's start has the token, nan where it has none.

    A lookup proposes with certainty, so the target accepts the token x with probability p(x); given a text
    of the target, the draft is accepted where it is the text's own token.
    """
    import numpy as np

    split = len(row.tokens) - row.scored
    prompt, text = row.tokens[:split], row.tokens[split:]
    chances = np.full((len(text), depth), np.nan)
    for start, drafts in enumerate(lookup.drafts(prompt, text, depth)):
        for i, (draft, token) in enumerate(zip(drafts, text[start:], strict=False)):
            chances[start, i] = float(draft == token)
    return chances
