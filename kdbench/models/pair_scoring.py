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
from kdbench.models.scoring import (
    Places,
    TokenScorer,
    check_ids,
    chunk_size,
    chunks,
    nonsense,
    owners,
)
from kdbench.models.tokens import TokenRow

if TYPE_CHECKING:
    import torch

    from kdbench.models.causal_lm import CausalLM
    from kdbench.models.warping import Warp

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


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the student's drafts would meet at every scored token, given the tokens before it.

    `chance` is min(1, q/p) of the token that stands there, `overlap` the sum of min(p, q) over the
    vocabulary, both under the same warp; `impossible` counts tokens that the target, so warped, could not
    have drawn.
    """

    chance: list[float]
    overlap: list[float]
    impossible: int


def accepted(
    teacher: CausalLM, student: CausalLM, rows: Sequence[TokenRow], warp: Warp
) -> list[Accepted]:
    """Acceptance of the student as the teacher's draft model on `rows` of token ids.

    A token outside of the draft's output vocabulary is never drafted: its chance is 0. So is that of a
    token to which the draft gives no probability. Raises `ModelError` where the draft can't read a token, or
    where logits are no numbers.
    """
    first, second = teacher.scorer, student.scorer
    for row in rows:
        check_ids(row.tokens, second.vocabulary)
    found = [Accepted([], [], 0)] * len(rows)

    def reduce(batch: Sequence[TreeRow], places: Places) -> list[tuple[int, Accepted]]:
        values = _acceptances(first, second, batch, places, warp)
        chance, overlap, possible = values.T.tolist()
        return [
            (request, Accepted(chance[i:j], overlap[i:j], possible[i:j].count(0.0)))
            for request, i, j in owners(places)
        ]

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


def _acceptances(
    first: TokenScorer,
    second: TokenScorer,
    batch: Sequence[TreeRow],
    places: Places,
    warp: Warp,
) -> torch.Tensor:
    """Chance, overlap and whether the target could draw the token: [scored tokens, 3] on the CPU."""
    import torch

    teacher, student = first.logits(batch, places), second.logits(batch, places)
    device, shared = teacher.device, min(teacher.shape[-1], student.shape[-1])
    if warp.temperature == 0:
        return _greedy_acceptances(first, teacher, student, places)
    found = torch.empty((len(places.at), 3), device=device, dtype=torch.float64)
    for start, inside, at, wanted in chunks(places, device, chunk_size(teacher)):
        parts = slice(start, start + int(at.max()) + 1)
        p, q = (warp.probabilities(logits[parts].to(device)) for logits in (teacher, student))
        target = p[at, wanted].double()
        known = wanted < shared
        draft = torch.where(known, q[at, wanted.clamp(max=shared - 1)], 0.0).double()
        ratio = torch.where(target > 0, draft / target, (draft > 0).double())
        overlap = torch.minimum(p[:, :shared], q[:, :shared]).sum(-1, dtype=torch.float64)[at]
        found[inside] = torch.stack([ratio.clamp(max=1), overlap, (target > 0).double()], dim=1)
    if bool(found.isnan().any()):
        raise ModelError(nonsense(first.model))
    return found.cpu()


def _greedy_acceptances(
    first: TokenScorer, teacher: torch.Tensor, student: torch.Tensor, places: Places
) -> torch.Tensor:
    """The same where all mass of both lies on one token: which one is all that counts."""
    import torch

    device = teacher.device
    at, wanted = (torch.tensor(own, device=device) for own in (places.at, places.targets))
    (most, target), (more, draft) = (logits.to(device).max(-1) for logits in (teacher, student))
    if not bool(torch.isfinite(most).all() & torch.isfinite(more).all()):
        raise ModelError(nonsense(first.model))
    found = torch.stack([draft[at] == wanted, (draft == target)[at], target[at] == wanted], dim=1)
    return found.double().cpu()


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
