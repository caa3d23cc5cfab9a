"""Suites on the parity plugin, and how to compare the tables that they make."""

from __future__ import annotations

import csv
from pathlib import Path

PARITY = """\
name: parity
models:
  teacher: {{adapter: parity, wrong: 0.05, salt: t{speed}}}
  good: {{adapter: parity, wrong: 0.15, salt: g{speed}}}
  poor: {{adapter: parity, wrong: 0.4, salt: p{speed}{poor}}}
pairs:
  - {{teacher: teacher, student: good, method: forward-kl, baseline: poor}}
  - {{teacher: teacher, student: poor, method: scratch}}
tasks:
  - {{task: parity, count: {count}{task}}}
{extra}
"""


def parity_suite(
    folder: Path,
    count: int = 120,
    seconds: float = 0.0,
    poor: str = "",
    task: str = "",
    extra: str = "",
    name: str = "suite.yaml",
) -> Path:
    """Write a suite of a teacher and two students; `poor` adds keys to the last model."""
    speed = f", seconds: {seconds}" if seconds else ""
    text = PARITY.format(
        count=count,
        speed=speed,
        poor=f", {poor}" if poor else "",
        task=f", {task}" if task else "",
        extra=extra,
    )
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_timestamps(table: Path) -> str:
    """The table's text with the column `created` blanked, which alone may differ between runs."""
    return "\n".join(
        ",".join(value for name, value in row.items() if name != "created") for row in rows(table)
    )


def value(found: list[dict[str, str]], metric: str, **where: str) -> dict[str, str]:
    """The one row of a metric that matches."""
    matching = [
        row for row in found
        if row["metric"] == metric and all(row[k] == v for k, v in where.items())
    ]  # fmt: skip
    assert len(matching) == 1, matching
    return matching[0]
