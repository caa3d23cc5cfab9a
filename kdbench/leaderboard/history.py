"""Several runs of one suite as lines over time, with what changed between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbench.leaderboard.data_files import DataFiles, finite
from kdbench.leaderboard.folders import RunFolder
from kdbench.leaderboard.merge import hardware_of
from kdbench.results.addresses import identifier
from kdbench.results.table import Row

PACKAGES = ("torch", "transformers", "lm_eval", "lm-eval", "diffusers", "vllm")
"""Packages whose version can move a number."""


def write(site: DataFiles, runs: Sequence[RunFolder]) -> str | None:
    """Write the history of a suite, oldest run first; None where there is only one run."""
    if len(runs) < 2:
        return None
    path = f"data/history/{identifier(runs[-1].suite, hardware_of(runs[-1]))}.js"
    return site.write(path, {"suite": runs[-1].suite, "runs": _runs(runs), "series": series(runs)})


def _runs(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    described = []
    for number, run in enumerate(runs):
        made_by = run.record.get("kdbench", {})
        described.append({
            "id": run.id, "label": run.label, "started": run.started,
            "kdbench": made_by.get("version") or run.rows[0].kdbench,
            "commit": (made_by.get("git") or {}).get("commit"), "hardware": hardware_of(run),
            "changes": changes(runs[number - 1], run) if number else [],
        })  # fmt: skip
    return described


def changes(before: RunFolder, after: RunFolder) -> list[str]:
    """What differs between two runs, as sentences; only what both records know."""
    old, new = before.record, after.record
    found = []
    for what, one in _versions(old).items():
        other = _versions(new).get(what)
        if one and other and one != other:
            found.append(f"{what} {one} → {other}")
    if old and new and old["suite"]["sha256"] != new["suite"]["sha256"]:
        found.append("suite text changed")
    one_prints, other_prints = _fingerprints(before), _fingerprints(after)
    for name in one_prints.keys() & other_prints.keys():
        parts = {
            part
            for part in one_prints[name].keys() | other_prints[name].keys()
            if one_prints[name].get(part) != other_prints[name].get(part)
        }
        if parts:
            found.append(f"{name}: {', '.join(sorted(parts))} changed")
    found += [f"{name}: new" for name in sorted(other_prints.keys() - one_prints.keys())]
    found += [f"{name}: gone" for name in sorted(one_prints.keys() - other_prints.keys())]
    return found


def _versions(record: dict[str, Any]) -> dict[str, str | None]:
    made_by, packages = record.get("kdbench", {}), record.get("packages", {})
    return {
        "kdbench": made_by.get("version"),
        "kdbench commit": ((made_by.get("git") or {}).get("commit") or "")[:10],
        **{name: packages.get(name) for name in PACKAGES},
    }


def _fingerprints(run: RunFolder) -> dict[str, dict[str, str]]:
    return {
        cell["model"]: cell["ingredients"]["models"]["model"]
        for cell in run.cells
        if cell["model"] and cell.get("ingredients")
    }


def series(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """One series for each (task, metric, pair, role, model), with marks where it moved or was redefined."""
    found: dict[tuple[str, ...], list[Row | None]] = {}
    for number, run in enumerate(runs):
        for row in run.rows:
            key = (row.task, row.metric, row.pair, row.role, row.model)
            found.setdefault(key, [None] * len(runs))[number] = row
    return [
        {
            "task": rows[-1].task, "metric": rows[-1].metric, "pair": rows[-1].pair,
            "role": rows[-1].role, "model": rows[-1].model, "unit": rows[-1].unit,
            "better": rows[-1].better,
            "value": [finite(row.value) if row else None for row in points],
            "low": [finite(row.ci_low) if row else None for row in points],
            "high": [finite(row.ci_high) if row else None for row in points],
            "protocol": [row.protocol if row else None for row in points],
            "marks": marks(points),
        }
        for points in found.values()
        if (rows := [row for row in points if row is not None])
    ]  # fmt: skip


def marks(points: Sequence[Row | None]) -> list[str | None]:
    """ "protocol" where the dialect changed, "shift" where the interval left the one before it."""
    found: list[str | None] = []
    before: Row | None = None
    for row in points:
        mark = None
        if row is not None and before is not None:
            if row.protocol != before.protocol:
                mark = "protocol"
            elif _apart(row, before):
                mark = "shift"
        found.append(mark)
        before = row or before
    return found


def _apart(one: Row, other: Row) -> bool:
    bounds = (one.ci_low, one.ci_high, other.ci_low, other.ci_high)
    if any(bound is None for bound in bounds):
        return False
    return bool(one.ci_low > other.ci_high or one.ci_high < other.ci_low)  # type: ignore[operator]
