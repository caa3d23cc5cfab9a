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
    from kdbench.metrics.folded import Folded
    from kdbench.stats import Estimate

    if "value" not in held:
        return None
    if held.get("without"):
        return Folded.from_json(held).estimate(confidence)
    return Estimate(**{field.name: held[field.name] for field in fields(Estimate)})


def paired(
    first: Mapping[str, Any], second: Mapping[str, Any], confidence: float, ratio: bool = False
) -> Estimate | str:
    """Second minus first over the same folds (or their `ratio`), or why there is none."""
    from kdbench.metrics.folded import Folded

    if any("value" not in held for held in (first, second)):
        return next(str(held["reason"]) for held in (first, second) if "value" not in held)
    if not first.get("without") or not second.get("without"):
        return "its interval is not one of folds, so it has no paired form"
    one, other = Folded.from_json(first), Folded.from_json(second)
    try:
        apart = other.over(one) if ratio else other.minus(one)
    except ValueError as error:
        return str(error)
    return apart.estimate(confidence)
