"""Where numbers come from: what a run's record says, for its pairs' pages and the page about the site."""

from __future__ import annotations

from typing import Any

from kdbench.leaderboard.lookup import Lookup

_CELL = (
    "label",
    "group",
    "protocol",
    "key",
    "status",
    "reason",
    "hardware",
    "seconds",
    "ingredients",
)


def summary(lookup: Lookup) -> dict[str, Any]:
    """One line about a run."""
    run = lookup.run
    made_by = run.record.get("kdbench", {})
    return {
        "id": run.id,
        "suite": run.suite,
        "label": run.label,
        "started": run.started,
        "finished": run.finished,
        "kdbench": made_by.get("version") or run.rows[0].kdbench,
        "commit": (made_by.get("git") or {}).get("commit"),
        "hardware": lookup.hardware,
        "rows": len(run.rows),
    }


def details(lookup: Lookup) -> dict[str, Any]:
    """Suite text, versions, machine and cells of a run; what an older table lacks is empty."""
    run = lookup.run
    record, suite = run.record, run.record.get("suite", {})
    return {
        **summary(lookup),
        "made_by": record.get("kdbench", {}),
        "file": suite.get("file"),
        "text": suite.get("text"),
        "sha256": suite.get("sha256"),
        "git": suite.get("git"),
        "command": f"kdbench run {suite['file']}" if suite.get("file") else None,
        "confidence": run.confidence,
        "seed": run.rows[0].seed,
        "machine": record.get("machine", {}),
        "packages": record.get("packages", {}),
        "determinism": record.get("determinism", {}),
        "seconds": record.get("seconds", {}),
        "cells": [
            {
                **{key: cell.get(key) for key in _CELL},
                "subject": cell["model"] or f"{cell['student']} of {cell['teacher']}",
            }
            for cell in run.cells
        ],
    }
