"""Verdicts from intervals: inside the bound, outside, or not to be told yet; many gates at once.

The gates of one check share their error rate by Holm's step-down (Holm 1979, "A simple sequentially
rejective multiple test procedure", Scandinavian J. of Statistics 6), done on intervals: with m gates open
each is judged at 1 - (1 - confidence) / m; the decided ones leave, and the rest are judged again among
fewer, until none is decided. A gate is decided here exactly when Holm rejects the hypothesis that its
number stands on its bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kdbench.stats import Estimate

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that will do; None is no bound. `beyond`: the bound itself won't do."""

    least: float | None
    most: float | None
    beyond: bool = False

    def judge(self, estimate: Estimate) -> Verdict:
        """PASS: the whole interval is within; FAIL: the whole interval is outside, on one side."""
        low, high = estimate.low, estimate.high
        if math.isnan(low) or math.isnan(high):
            return "INCONCLUSIVE"

        def kept(low: float, high: float) -> bool:
            return low < high or (low == high and not self.beyond)

        if (self.least is not None and not kept(self.least, high)) or (
            self.most is not None and not kept(low, self.most)
        ):
            return "FAIL"
        if (self.least is None or kept(self.least, low)) and (
            self.most is None or kept(high, self.most)
        ):
            return "PASS"
        return "INCONCLUSIVE"

    def samples_to_settle(self, estimate: Estimate, confidence: float) -> int | None:
        """Further samples expected to decide it with power 0.8; None where no number would."""
        from kdbench import stats

        sides: list[tuple[float, stats.Better]] = []
        if self.least is not None:
            sides.append((self.least, "higher"))
        if self.most is not None:
            sides.append((self.most, "lower"))
        needed = [
            stats.samples_to_settle(estimate, 0.0, better, bound, confidence=confidence)
            for bound, better in sides
        ]
        known = [count for count in needed if count is not None]
        return max(known) if known and len(known) == len(needed) else None


@dataclass(frozen=True, slots=True)
class Decided:
    """A verdict with the estimate and the confidence that it rests on."""

    verdict: Verdict
    estimate: Estimate
    confidence: float


def holm(
    claims: Sequence[tuple[Callable[[float], Estimate], Bounds, float]],
) -> list[Decided]:
    """Verdicts of all claims (estimate at a confidence, bounds, confidence of the gate) together."""
    decided: dict[int, Decided] = {}
    while True:
        left = [i for i in range(len(claims)) if i not in decided]
        judged: dict[int, Decided] = {}
        for i in left:
            estimate, bounds, confidence = claims[i]
            level = 1 - (1 - confidence) / len(left)
            found = estimate(level)
            judged[i] = Decided(bounds.judge(found), found, level)
        settled = {i: d for i, d in judged.items() if d.verdict != "INCONCLUSIVE"}
        decided |= settled
        if not settled or len(decided) == len(claims):
            return [(decided | judged)[i] for i in range(len(claims))]
