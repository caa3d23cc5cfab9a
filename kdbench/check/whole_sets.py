"""Evidence on numbers that belong to a whole set, such as a Frechet distance: from what cells summarise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdbench.check.evidence import Evidence, Missing, unchanged
from kdbench.check.published import Board
from kdbench.tasks import summaries
from kdbench.tasks.task import Metric

if TYPE_CHECKING:
    from kdbench.stats import Estimate


def alone(
    board: Board, model: str, metric: Metric, tag: tuple[str, str] | None
) -> Evidence | Missing:
    """A model's own number; a tag's samples have none of their own."""
    if tag is not None:
        return Missing(
            f"{metric.name} is one number of all samples, not of those where {'='.join(tag)}"
        )
    held = _held(board, model, metric)
    if summaries.estimate_of(held, 0.95) is None:
        return Missing(f"{metric.name} of {model}: {held.get('reason') or 'not computed'}")

    def estimate(confidence: float) -> Estimate:
        found = summaries.estimate_of(held, confidence)
        assert found is not None
        return found

    return Evidence(estimate, metric.unit, metric.better, int(held["n"]))


def paired(
    metric: Metric, kind: str, first: tuple[Board, str], second: tuple[Board, str]
) -> Evidence | Missing:
    """Second against first over the same folds of samples; `kind` is "gap" or "retention"."""
    if kind not in ("gap", "retention"):
        return Missing(f"{metric.name} is one number of all samples, so it has no {kind}")
    (one, before), (other, now) = first, second
    ours, theirs = _held(one, before, metric), _held(other, now, metric)
    if one.keys(before) == other.keys(now) and ours == theirs and "value" in ours:
        return unchanged(metric, kind, int(ours["n"]))
    ratio = kind == "retention"
    found = summaries.paired(ours, theirs, 0.95, ratio)
    if isinstance(found, str):
        return Missing(f"{metric.name} of {now} and {before}: {found}")

    def estimate(confidence: float) -> Estimate:
        found = summaries.paired(ours, theirs, confidence, ratio)
        assert not isinstance(found, str)
        return found

    unit = "ratio" if ratio else metric.unit
    return Evidence(estimate, unit, metric.better, int(theirs["n"]))


def _held(board: Board, model: str, metric: Metric) -> Mapping[str, Any]:
    """What the model's cell keeps of a metric; cells of a group keep nothing of the group's."""
    cells = board.models[model]
    held: Mapping[str, Any] = cells[0]["summary"].get(metric.name, {}) if len(cells) == 1 else {}
    return held
