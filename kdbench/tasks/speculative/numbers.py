"""How the family's numbers follow from samples; `kdbench.tasks.aggregate` lists them by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kdbench.errors import TaskError
from kdbench.tasks.task import Metric

if TYPE_CHECKING:
    from kdbench.stats import Estimate


def replay_metrics(gammas: Sequence[int]) -> list[Metric]:
    """What a replay says of chains of each of `gammas` drafts."""
    found = [
        Metric(
            "alpha", "probability", "higher",
            "acceptance rate of a token: the sum of min(p, q) over the vocabulary, 1 - total variation",
            "weighted_mean", compared=True,
        ),
        Metric(
            "alpha_of_text", "probability", "higher",
            "the same from the text's own tokens: the mean of min(1, q/p)", "weighted_mean",
        ),
        Metric(
            "alpha_gap", "probability", "lower",
            "alpha_of_text - alpha: 0 but for chance where the target wrote the text", "weighted_mean",
        ),
        Metric(
            "impossible", "fraction", "lower",
            "tokens of the text that the target, warped so, would not write", "weighted_mean",
        ),
    ]  # fmt: skip
    for g in gammas:
        found += [
            Metric(
                f"tau@{g}", "tokens/pass", "higher",
                f"block efficiency: tokens per target pass with {g} drafts, bonus token included",
                "weighted_mean", compared=True,
            ),
            Metric(
                f"passes_per_token@{g}", "passes/token", "lower",
                f"expected target passes per token with {g} drafts", "weighted_mean",
            ),
            Metric(
                f"acceptance@{g}", "fraction", "higher",
                f"accepted of the drafts tested, with {g} drafts", "weighted_mean",
            ),
            Metric(
                f"iid_approximation@{g}", "tokens/pass", "higher",
                f"(1 - alpha^{g + 1}) / (1 - alpha): tau if all tokens were equally easy; not a measurement",
                "iid_block_efficiency",
            ),
        ]  # fmt: skip
        for k in range(1, g + 1):
            found += [
                Metric(
                    f"acceptance_at_{k}@{g}", "fraction", "higher",
                    f"cycles with {g} drafts that accept at least {k}", "weighted_mean",
                ),
                Metric(
                    f"conditional_acceptance_at_{k}@{g}", "fraction", "higher",
                    f"draft {k} of {g} accepted, where those before it were", "weighted_mean",
                ),
            ]  # fmt: skip
    return found


def iid_block_efficiency(
    scores: Sequence[Any], clusters: Sequence[Any] | None, confidence: float
) -> Estimate:
    """The closed formula at the ratio of sums alpha, of [sum of overlaps, tokens, gamma]."""
    from kdbench import stats
    from kdbench.metrics.replay import iid_approximation

    tops, bottoms, gammas = (list(column) for column in zip(*scores, strict=True))
    if len(set(gammas)) != 1:
        raise TaskError("one formula, but several gammas")
    alpha = stats.ratio_of_sums(tops, bottoms, clusters, confidence=confidence)
    bounds = {name: min(1.0, max(0.0, getattr(alpha, name))) for name in ("value", "low", "high")}
    mapped = {
        name: bound if math.isnan(bound) else float(iid_approximation(bound, int(gammas[0])))
        for name, bound in bounds.items()
    }
    return replace(alpha, **mapped, method=f"formula at {alpha.method}")
