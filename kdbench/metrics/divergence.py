"""How far two models' next-token distributions are apart, position by position.

All functions take log-probabilities in nats as torch tensors [positions, vocabulary], teacher first, and
give one number a position. They run where the tensors are, and nothing of the size of the vocabulary
leaves them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TOP = 5


@dataclass(frozen=True, slots=True)
class Divergences:
    """One number a position, tensors [positions].

    `forward_kl` is KL(teacher || student) and `reverse_kl` KL(student || teacher), in nats;
    `total_variation` half of the L1 distance, from 0 to 1 (1 minus it is the acceptance rate of
    speculative sampling); `top1` is 1 where both find the same token most probable; `top5` the share of
    the teacher's five most probable tokens that are among the student's five.
    """

    forward_kl: torch.Tensor
    reverse_kl: torch.Tensor
    total_variation: torch.Tensor
    top1: torch.Tensor
    top5: torch.Tensor


def divergences(teacher: torch.Tensor, student: torch.Tensor) -> Divergences:
    """All of them at once.

    Sources: Kullback & Leibler (1951); total variation as in Leviathan et al. (2023), "Fast inference from
    transformers via speculative decoding", where acceptance = 1 - TV. Negative rounding errors of a KL
    are cut to 0.
    """
    p, q = teacher.exp(), student.exp()
    apart = teacher - student
    forward, reverse = (_expected(weights, logs) for weights, logs in ((p, apart), (q, -apart)))
    count = min(TOP, teacher.shape[-1])
    ours, theirs = (logprobs.topk(count, dim=-1).indices for logprobs in (student, teacher))
    shared = (ours.unsqueeze(-1) == theirs.unsqueeze(-2)).any(-1).sum(-1)
    return Divergences(
        forward,
        reverse,
        (p - q).abs_().sum(-1) / 2,
        (ours[:, 0] == theirs[:, 0]).to(teacher.dtype),
        shared.to(teacher.dtype) / count,
    )


def _expected(weights: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """Sums over the vocabulary; a token without weight adds nothing, whatever its logarithm."""
    terms = (weights * logs).nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf)
    return terms.sum(-1).clamp_min(0)
