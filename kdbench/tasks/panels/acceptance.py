"""Draft tokens accepted: block efficiency and acceptance by gamma, of all students of one teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbench.results.sample import Sample
from kdbench.tasks.panel import PanelInput

LEAST = 5
"""Prompts behind a number of a category."""


def data(given: PanelInput) -> Any:
    """tau and acceptance by gamma for the pair and its teacher's other students; tau by category."""
    own = list(given.samples())
    gammas = gammas_of(given)
    if not gammas or not any(f"tau@{g}" in sample.scores for g in gammas for sample in own):
        return None
    others = {name: list(samples()) for name, samples in given.siblings.items()}
    drafts = [_draft(given, name, samples, gammas) for name, samples in others.items()]
    return {
        "gammas": gammas,
        "drafts": [{**_draft(given, given.student, own, gammas), "own": True}, *drafts],
        "positions": _positions(given, own, gammas[-1]),
        "categories": _categories(given, own, gammas),
    }


def _draft(
    given: PanelInput, name: str, samples: Sequence[Sample], gammas: Sequence[int]
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name}
    for metric in ("tau", "acceptance", "iid_approximation"):
        found[metric] = [interval(given, f"{metric}@{g}", samples) for g in gammas]
    found["alpha"] = interval(given, "alpha", samples)
    return found


def _positions(given: PanelInput, samples: Sequence[Sample], g: int) -> list[dict[str, Any]]:
    names = ("acceptance_at", "conditional_acceptance_at")
    return [
        {"position": k, **{name: interval(given, f"{name}_{k}@{g}", samples) for name in names}}
        for k in range(1, g + 1)
    ]


def _categories(
    given: PanelInput, samples: Sequence[Sample], gammas: Sequence[int]
) -> list[dict[str, Any]]:
    """Each category's tau at every gamma; none where there are not two of them."""
    members: dict[str, list[Sample]] = {}
    for sample in samples:
        if "category" in sample.tags:
            members.setdefault(sample.tags["category"], []).append(sample)
    kept = {name: own for name, own in sorted(members.items()) if len(own) >= LEAST}
    if len(kept) < 2:
        return []
    return [
        {
            "category": name,
            "n": len(own),
            "alpha": interval(given, "alpha", own),
            "tau": [interval(given, f"tau@{g}", own) for g in gammas],
        }
        for name, own in kept.items()
    ]


def gammas_of(given: PanelInput) -> list[int]:
    names = [metric.name.partition("@") for metric in given.metrics]
    return sorted(int(gamma) for name, _, gamma in names if name == "tau" and gamma.isdecimal())


def interval(
    given: PanelInput, metric: str, samples: Sequence[Sample]
) -> dict[str, float | None] | None:
    from kdbench.tasks.aggregate import aggregate

    scored = [sample for sample in samples if metric in sample.scores]
    kinds = {one.name: one.aggregation for one in given.metrics}
    if not scored or metric not in kinds:
        return None
    scores, clusters = [s.scores[metric] for s in scored], [s.cluster for s in scored]
    found = aggregate(kinds[metric], scores, clusters, given.confidence)
    shown = {"value": found.value, "low": found.low, "high": found.high}
    return {key: number if abs(number) < float("inf") else None for key, number in shown.items()}
