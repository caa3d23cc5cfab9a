"""Published numbers on the site: the papers' own, beside the measured ones and never among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdbench.errors import StoreError
from kdbench.leaderboard.data_files import DataFiles, coded
from kdbench.results.claims import PublishedRow, read, read_papers, to_csv

_NUMBERS = {"value", "range_low", "range_high", "baseline_value", "steps"}
_ROW = (
    "task", "metric", "unit", "better", "method", "role", "model", "value", "hardware", "steps",
    "protocol",
)  # fmt: skip


def read_all(folders: Sequence[Path], site: DataFiles) -> list[PublishedRow]:
    """Rows of every folder of claims; a folder that can't be read is noticed and left out."""
    rows = []
    for folder in folders:
        try:
            rows += read(folder)
        except StoreError as error:
            site.notice(str(error))
    return rows


def write(site: DataFiles, rows: Sequence[PublishedRow], folders: Sequence[Path]) -> None:
    """Write data/published.js and published.csv."""
    records = [{**asdict(row.row), **row.extra()} for row in rows]
    columns: dict[str, Any] = {}
    for key in (*_ROW, *(rows[0].extra() if rows else ())):
        values = [record[key] for record in records]
        columns[key] = values if key in _NUMBERS else coded([str(v) for v in values])
    columns["family"] = coded([row.row.task.partition("/")[0] for row in rows])
    papers = [
        {key: paper.get(key) for key in ("id", "title", "method", "kind")}
        for folder in folders
        for paper in read_papers(folder)
    ]
    frame = {"n": len(rows), "columns": columns}
    site.write("data/published.js", {"papers": papers, "rows": frame})
    site.text("published.csv", to_csv(rows))
