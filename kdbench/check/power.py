"""`kdbench plan-power`: how many documents a gate needs, before they are measured.

A gate passes when the bound lies outside of its interval, so with a true distance d between number and
bound, and s the standard deviation of one document's contribution (from a pilot's interval, clusters and
pairing included), n = ((z_(1 - a/2) + z_power) s / d)^2 documents pass it with that power; a is what Holm
leaves to the gate when none is decided yet, the whole risk over the number of gates. For paired right and
wrong answers without a pilot, s^2 = discordance - difference^2 (Connor 1987, "Sample size for testing
differences in proportions for the paired-sample design", Biometrics 43; here with one variance for both
hypotheses, which is the larger one's neighbourhood).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from kdbench.check.claims import Claim, Setting, claims_of
from kdbench.check.evidence import Evidence
from kdbench.check.published import Results, published_results
from kdbench.check.report import Finding
from kdbench.errors import SettingsConflictError
from kdbench.suite import Suite


def documents_needed(spread: float, distance: float, confidence: float, power: float) -> int | None:
    """Documents for an interval at `confidence` to exclude the bound with probability `power`.

    `spread` is the standard deviation of one document's contribution and `distance` the true distance
    from the bound, both in the metric's unit; None for no distance, which no number of documents shows.
    """
    if distance <= 0 or not math.isfinite(spread):
        return None
    normal = NormalDist()
    z = normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)
    return max(2, math.ceil((z * spread / distance) ** 2))


def spread_of_flips(discordance: float, difference: float = 0.0) -> float:
    """Standard deviation of a paired difference of right and wrong answers.

    `discordance` is the share of documents on which the two models differ, `difference` that of their
    accuracies. Raises `SettingsConflictError` where no two models could have both.
    """
    if not 0 < discordance <= 1 or abs(difference) > discordance:
        raise SettingsConflictError(
            f"discordance {discordance:g} with a difference of {difference:g}: the discordance is a "
            "share of documents, above 0 and at least as large as the difference"
        )
    return math.sqrt(discordance - difference**2)


@dataclass(frozen=True, slots=True)
class Need:
    """What one claim needs: `present` documents are there, `needed` would do, `seconds` for the rest."""

    name: str
    distance: float | None
    spread: float | None
    present: int
    needed: int | None
    detectable: float | None
    seconds: float | None
    reason: str = ""

    def json(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.__slots__}


def plan(
    suite: Suite, folder: Path, difference: float | None = None, power: float = 0.8
) -> list[Need]:
    """Needs of every gate of `suite`, from the pilot in `folder`.

    `difference` is the true distance from the bound to plan for; None takes the pilot's own.
    """
    if not suite.gates:
        raise SettingsConflictError(f"{suite.file}: nothing to plan: the suite has no `gates`")
    results = published_results(folder)
    claims = claims_of(suite.gates, Setting(results, {}, results))
    return [_need(claim, len(claims), results, difference, power) for claim in claims]


def _need(
    claim: Claim, claims: int, results: Results, difference: float | None, power: float
) -> Need:
    name = Finding(claim, None).name
    evidence = claim.evidence
    if not isinstance(evidence, Evidence):
        return Need(name, None, None, 0, None, None, None, evidence.reason)
    confidence = 1 - (1 - claim.gate.confidence) / claims
    estimate = evidence.estimate(confidence)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    error = (estimate.high - estimate.low) / 2 / z
    if not error > 0:
        reason = (
            "no document differs in the pilot (or it is compared with itself): give --discordance"
        )
        return Need(name, None, None, estimate.n, None, None, None, reason)
    spread = error * math.sqrt(estimate.n)
    bounds = [b for b in (claim.bounds.least, claim.bounds.most) if b is not None]
    distance = (
        difference if difference is not None else min(abs(estimate.value - b) for b in bounds)
    )
    needed = documents_needed(spread, distance, confidence, power)
    detectable = error * (z + NormalDist().inv_cdf(power))
    seconds = None
    if needed is not None:
        rate = _seconds_per_document(results, claim)
        seconds = max(0, needed - estimate.n) * rate if rate is not None else None
    return Need(name, distance, spread, estimate.n, needed, detectable, seconds)


def _seconds_per_document(results: Results, claim: Claim) -> float | None:
    """Of all models that the claim rests on, from the pilot's own measurements."""
    pair = next((pair for pair in results.pairs if pair["name"] == claim.about), None)
    models = {claim.about} if pair is None else {pair["student"], claim.against or pair["student"]}
    total = 0.0
    for board in results.on(claim.task):
        for model in models & board.models.keys():
            for cell in board.models[model]:
                columns = results.columns(cell["samples"])
                seconds = (cell.get("seconds") or {}).get("measure")
                if seconds is None or not len(columns.ids):
                    return None
                total += seconds / len(columns.ids)
    return total or None


def lines(needs: Sequence[Need]) -> list[str]:
    """A line for each need."""
    from kdbench.results.lines import number

    found = []
    for need in needs:
        if need.needed is None:
            why = need.reason or "the pilot stands on its bound; plan for a --difference"
            found.append(f"{need.name}: {why}")
            continue
        text = f"{need.name}: {need.needed} documents for a distance of {number(need.distance)}"
        text += f"; {need.present} are there and would show {number(need.detectable)}"
        if need.seconds:
            text += f"; about {_duration(need.seconds)} more"
        found.append(text)
    return found


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    if seconds < 7200:
        return f"{math.ceil(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
