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


TAG = "category"
"""The tag of samples that the main metrics are told by: what kind of prompt it is."""


def replay_metrics(gammas: Sequence[int]) -> list[Metric]:
    """What a replay says of chains of each of `gammas` drafts."""
    found = [
        Metric(
            "alpha", "probability", "higher",
            "acceptance rate of a token: the sum of min(p, q) over the vocabulary, 1 - total variation",
            "weighted_mean", compared=True, by=TAG,
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
                "weighted_mean", compared=True, by=TAG,
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


def loop_metrics(gammas: Sequence[int]) -> list[Metric]:
    """What the real loop says of chains of each of `gammas` drafts."""
    found = [
        Metric(
            "plain_tokens_per_second", "tokens/s", "higher", "the target without drafts, batch 1",
            "weighted_mean",
        ),
        Metric("target_step", "s", "lower", "a token of the target, behind a cache"),
        Metric("draft_step", "s", "lower", "a token of the draft, behind a cache"),
        Metric("draft_cost", "ratio", "lower", "c: draft step / target step", "weighted_mean"),
        Metric("best_gamma_measured", "drafts", "higher", "gamma of the best speed-up", "best_gamma"),
        Metric(
            "best_gamma_predicted", "drafts", "higher", "gamma of the best predicted speed-up",
            "best_gamma",
        ),
    ]  # fmt: skip
    for g in gammas:
        found += [
            Metric(
                f"tau@{g}", "tokens/pass", "higher",
                f"tokens per target pass of the reference loop with {g} drafts, bonus token included",
                "weighted_mean", by=TAG,
            ),
            Metric(
                f"replayed_tau@{g}", "tokens/pass", "higher", "the same by replay of the loop's texts",
                "weighted_mean",
            ),
            Metric(
                f"conformance@{g}", "tokens/pass", "lower",
                "tau of the loop - tau by replay of its texts; an error beyond 3 standard errors",
                "conformance",
            ),
            Metric(
                f"acceptance@{g}", "fraction", "higher", "accepted of the drafts tested, in the loop",
                "weighted_mean",
            ),
            Metric(
                f"lossless@{g}", "fraction", "higher",
                "greedy texts that are the same with drafts and without",
            ),
            Metric(
                f"divergence_margin@{g}", "logits", "lower",
                "lead of the target's best token where such a text first differs",
            ),
            Metric(
                f"assisted_tau@{g}", "tokens/pass", "higher",
                "tokens per target pass of transformers' assisted generation", "weighted_mean",
            ),
            Metric(
                f"tokens_per_second@{g}", "tokens/s", "higher",
                f"transformers' assisted generation with {g} drafts, batch 1", "weighted_mean",
            ),
            Metric(
                f"speedup@{g}", "ratio", "higher",
                "seconds of plain / of assisted generation, same prompts, interleaved",
                "weighted_mean", compared=True, by=TAG,
            ),
            Metric(
                f"verify_cost@{g}", "ratio", "lower",
                f"v: the target's pass over {g + 1} tokens / over one", "weighted_mean",
            ),
            Metric(
                f"predicted_speedup@{g}", "ratio", "higher",
                f"tau / ({g} c + v) from the measured steps: what is left without a framework's overhead",
                "product_of_ratios",
            ),
        ]  # fmt: skip
    return found


def product_of_ratios(
    scores: Sequence[Any], clusters: Sequence[Any] | None, confidence: float
) -> Estimate:
    """(sum of a / sum of b) (sum of c / sum of d), of [a, b, c, d]."""
    from kdbench import stats

    columns = list(zip(*scores, strict=True))

    def product(a: Any, b: Any, c: Any, d: Any) -> Any:
        return a / b * c / d

    return stats.clustered_bootstrap(
        product, columns, clusters, confidence=confidence, interval="percentile"
    )


def best_gamma(
    scores: Sequence[Any], clusters: Sequence[Any] | None, confidence: float
) -> Estimate:
    """The gamma whose product of ratios is the largest, of [[gamma, a, b, c, d], ...]."""
    from kdbench.tasks.aggregate import resampled

    def best(drawn: list[Any]) -> float:
        found = []
        for rows in zip(*drawn, strict=True):
            a, b, c, d = (sum(column) for column in list(zip(*rows, strict=True))[1:])
            found.append((a / b * c / d, -rows[0][0]))
        return float(-max(found)[1])

    return resampled(best, scores, clusters, confidence)


def conformance(
    scores: Sequence[Any], clusters: Sequence[Any] | None, confidence: float
) -> Estimate:
    """tau of a loop minus tau by replay, of [tokens, passes, expected passes, contradiction].

    Raises `TaskError` where they are more than 3 standard errors apart, naming the first place at which
    the loop did what replay says it can't.
    """
    from kdbench import stats

    tokens, passes, expected, places = (list(column) for column in zip(*scores, strict=True))

    def apart(level: float) -> Estimate:
        loop, replay = (tokens, passes), (tokens, expected)
        return stats.difference_of_ratios(loop, replay, clusters, level)

    outer = apart(_THREE_ERRORS)
    if outer.low > 0 or outer.high < 0:
        first = next((pair for pair in enumerate(places) if pair[1] >= 0), None)
        where = (
            f"; the first contradiction is at token {first[1]} of text {first[0]}" if first else ""
        )
        raise TaskError(
            f"the loop's tau and replay's are {outer.value:+.4f} apart, more than 3 standard errors{where}"
        )
    return apart(confidence)


_THREE_ERRORS = 0.9973
"""Confidence of 3 standard errors."""


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

    def mapped(rate: float) -> float:
        if math.isnan(rate):
            return rate
        return float(iid_approximation(min(1.0, max(0.0, rate)), int(gammas[0])))

    return replace(
        alpha,
        value=mapped(alpha.value),
        low=mapped(alpha.low),
        high=mapped(alpha.high),
        method=f"formula at {alpha.method}",
    )
