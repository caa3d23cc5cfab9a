"""Teacher and student on the same tokens, batch by batch: scores of both, and how far apart they are.

Both models see the same rows. Their distributions meet on the device and are reduced there, a few hundred
positions at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kdbench.errors import ModelError
from kdbench.metrics.divergence import divergences
from kdbench.models.prefix_tree import Layout, TreeRow
from kdbench.models.protocols import Scored
from kdbench.models.scoring import Places, TokenScorer, chunk_size, chunks, nonsense, owners
from kdbench.models.tokens import TokenRow

if TYPE_CHECKING:
    import torch

    from kdbench.models.causal_lm import CausalLM

COLUMNS = ("forward_kl", "reverse_kl", "total_variation", "top1", "top5")
"""What is told of every scored token; see `kdbench.metrics.divergence`."""


@dataclass(frozen=True, slots=True)
class PairScored:
    """One text under both models. `tokens` has, for every scored token, the numbers of `COLUMNS`."""

    teacher: Scored
    student: Scored
    tokens: list[list[float]]


def compare(teacher: CausalLM, student: CausalLM, rows: Sequence[TokenRow]) -> list[PairScored]:
    """Both models on `rows` of token ids that mean the same to both.

    Raises `ModelError` where a log-probability is not a finite number.
    """
    first, second = teacher.scorer, student.scorer
    nothing = Scored(0.0, True, 0)
    found = [PairScored(nothing, nothing, [])] * len(rows)

    def reduce(batch: Sequence[TreeRow], places: Places) -> list[tuple[int, PairScored]]:
        values = _values(first, second, batch, places).tolist()
        answers = []
        for request, start, end in owners(places):
            own = values[start:end]
            both = []
            for scorer, column in ((first, 0), (second, 2)):
                logprob = sum(token[column] for token in own)
                if not -float("inf") < logprob < float("inf"):
                    raise ModelError(nonsense(scorer.model))
                greedy = all(token[column + 1] == 1 for token in own)
                both.append(Scored(logprob, greedy, end - start))
            answers.append((request, PairScored(both[0], both[1], [token[4:] for token in own])))
        return answers

    for request, answer in first.walk(rows, reduce, _layout(first, second)):
        found[request] = answer
    return found


def compare_rolling(
    teacher: CausalLM, student: CausalLM, windows: Sequence[Sequence[TokenRow]]
) -> list[PairScored]:
    """The same of whole texts, each scored in windows; sums over a text's windows."""
    parts = iter(compare(teacher, student, [row for rows in windows for row in rows]))
    found = []
    for rows in windows:
        own = [next(parts) for _ in rows]
        count = sum(len(part.tokens) for part in own)
        sums = [
            Scored(float(sum(getattr(part, role).logprob for part in own)), False, count)
            for role in ("teacher", "student")
        ]
        found.append(PairScored(sums[0], sums[1], [token for part in own for token in part.tokens]))
    return found


def _layout(first: TokenScorer, second: TokenScorer) -> Layout:
    one, other = first.layout, second.layout
    return replace(
        one,
        window=min(one.window, other.window),
        share=one.share and other.share,
        prefixes=one.prefixes and other.prefixes,
    )


def _values(
    first: TokenScorer, second: TokenScorer, batch: Sequence[TreeRow], places: Places
) -> torch.Tensor:
    """Log-probability and whether it was the most probable, of teacher and student, and `COLUMNS`:
    [scored tokens, 9] on the CPU."""
    import torch

    teacher, student = first.logits(batch, places), second.logits(batch, places)
    device, shared = teacher.device, min(teacher.shape[-1], student.shape[-1])
    found = torch.empty((len(places.at), 4 + len(COLUMNS)), device=device)
    for start, inside, at, wanted in chunks(places, device, chunk_size(teacher)):
        parts = slice(start, start + int(at.max()) + 1)
        columns = []
        both = []
        for logits in (teacher, student):
            logprobs = logits[parts].to(device).float().log_softmax(-1)
            best = logprobs.argmax(-1)
            columns += [logprobs[at, wanted], (best[at] == wanted).to(logprobs.dtype)]
            # rows of the embedding that no token has, as some models pad it
            both.append(logprobs[:, :shared])
        apart = divergences(*both)
        columns += [getattr(apart, name)[at] for name in COLUMNS]
        found[inside] = torch.stack(columns, dim=1)
    return found.cpu()
