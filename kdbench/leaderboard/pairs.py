"""A pair's own page: everything that was measured on teacher and student, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kdbench.leaderboard.data_files import finite
from kdbench.leaderboard.lookup import Board, Lookup
from kdbench.results.table import Row

if TYPE_CHECKING:
    from kdbench.results.claims import PublishedRow

Claims = dict[tuple[str, str, str], list["PublishedRow"]]


def claims_by_what(claims: Sequence[PublishedRow]) -> Claims:
    """Published rows by (task, metric, protocol): only equal protocols are ever set side by side."""
    found: Claims = {}
    for claim in claims:
        found.setdefault((claim.row.task, claim.row.metric, claim.row.protocol), []).append(claim)
    return found


def page(lookup: Lookup, pair: dict[str, Any], claims: Claims) -> dict[str, Any]:
    """What the pair's page shows, but for panels, samples and history."""
    name = pair["name"]
    metrics, own = [], []
    for board in lookup.boards.values():
        of_models = [metric for metric in board.metrics if (name, metric) in board.student]
        of_pair = board.own.get(name, {})
        first = lookup.headlines.of(board.task, [*of_models, *of_pair])
        for metric in _led_by(first, of_models):
            row, student = board.metrics[metric], board.student[name, metric]
            metrics.append({
                **_about(board, row, first),
                "hardware": student.hardware,
                "teacher": _value(board.models.get((pair["teacher"], metric))),
                "student": _value(student),
                "baseline": _value(board.models.get((pair["baseline"] or "", metric))),
                "paired": {k: _value(v) for k, v in board.derived.get((name, metric), {}).items()},
                "published": _beside(claims, student),
            })  # fmt: skip
        for metric in _led_by(first, of_pair):
            row = of_pair[metric]
            own.append({
                **_about(board, row, first), "hardware": row.hardware, "pair": _value(row),
                "published": _beside(claims, row),
            })  # fmt: skip
    families = list(dict.fromkeys(entry["family"] for entry in [*metrics, *own]))
    return {
        "id": lookup.pair_id(name),
        "suite": lookup.run.suite,
        "pair": name,
        "student": pair["student"],
        "teacher": pair["teacher"],
        "method": pair["method"],
        "baseline": pair["baseline"],
        "run": lookup.run.id,
        "families": families,
        "created": lookup.run.started,
        "hardware": lookup.hardware,
        "models": {
            role: _model(lookup, pair[role])
            for role in ("teacher", "student", "baseline")
            if pair[role]
        },
        "metrics": metrics,
        "own": own,
    }


def _led_by(first: Sequence[str], metrics: Iterable[str]) -> list[str]:
    """The metrics with those of `first` at the beginning, in its order."""
    return sorted(metrics, key=lambda name: first.index(name) if name in first else len(first))


def _about(board: Board, row: Row, first: Sequence[str]) -> dict[str, Any]:
    return {
        "task": board.task, "family": board.family, "protocol": board.protocol,
        "metric": row.metric, "unit": row.unit, "better": row.better, "first": row.metric in first,
    }  # fmt: skip


def _value(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "value": finite(row.value), "low": finite(row.ci_low), "high": finite(row.ci_high),
        "ci_method": row.ci_method, "n": row.n, "n_clusters": row.n_clusters,
        "status": row.status, "reason": row.reason, "cell": row.cell,
    }  # fmt: skip


def _beside(claims: Claims, row: Row) -> list[dict[str, Any]]:
    return [
        {
            "value": finite(claim.row.value),
            "unit": claim.row.unit,
            "quantity": claim.quantity,
            "source": claim.source,
            "quote": claim.quote,
            "difference": finite(row.value - claim.row.value)
            if row.value is not None and claim.row.value is not None and row.unit == claim.row.unit
            else None,
        }
        for claim in claims.get((row.task, row.metric, row.protocol), ())
        if claim.quantity == "score"
    ]


def _model(lookup: Lookup, name: str) -> dict[str, Any]:
    cell = next((c for (_, _, model), c in lookup.cells.items() if model == name), None)
    prints = (cell or {}).get("ingredients", {}).get("models", {}).get("model", {})
    return {
        "name": name,
        "parameters": lookup.size(name, "parameters"),
        "weight_bytes": lookup.size(name, "weight_bytes"),
        "fingerprint": prints,
    }
