"""Numbers that a task's own code computed, read back from a cell's record or a published one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdbench.stats import Estimate


def estimate_of(held: Mapping[str, Any], confidence: float) -> Estimate | None:
    """The number with its interval; None where the samples could not bear the metric.

    Where the folds' statistics were kept, the interval is made anew at this confidence.
    """
    from kdbench.stats import Estimate
    from kdbench.stats.jackknife import jackknife

    if "value" not in held:
        return None
    if held.get("without"):
        n, clusters = held["n"], held["n_clusters"]
        return jackknife(held["value"], held["without"], n, clusters, confidence)
    return Estimate(**{field.name: held[field.name] for field in fields(Estimate)})


def paired(
    first: Mapping[str, Any], second: Mapping[str, Any], confidence: float, ratio: bool = False
) -> Estimate | str:
    """Second minus first over the same folds (or their `ratio`), or why there is none."""
    import numpy as np

    from kdbench.stats.jackknife import jackknife

    if any("value" not in held for held in (first, second)):
        return next(str(held["reason"]) for held in (first, second) if "value" not in held)
    ours, theirs = first.get("without"), second.get("without")
    if not ours or not theirs:
        return "its interval is not one of folds, so it has no paired form"
    if len(ours) != len(theirs) or first["n"] != second["n"]:
        return f"{first['n']} and {second['n']} images can't be paired"
    one, other = np.array(ours), np.array(theirs)
    value, start = second["value"], first["value"]
    if ratio and not (start > 0 and (one > 0).all()):
        return "the teacher's value is 0, so a ratio says nothing"
    left = other / one if ratio else other - one
    found = value / start if ratio else value - start
    return jackknife(found, left, first["n"], first["n_clusters"], confidence)
