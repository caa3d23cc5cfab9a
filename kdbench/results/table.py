"""The tidy table, version 1: one row per metric per cell, sorted so that a diff in git reads well."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdbench.errors import StoreError

if TYPE_CHECKING:
    import pandas

Role = Literal["teacher", "student", "pair"]
_ROLES = {"teacher": 0, "student": 1, "pair": 2}


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of one cell. Empty strings and None mean "does not apply".

    `value`, `ci_low` and `ci_high` are in `unit`; `n` counts samples, `n_clusters` the groups of samples
    that share a prompt; `steps` is the number of function evaluations of an image generator; `reason`
    says why a row failed or was skipped.
    """

    suite: str
    task: str
    protocol: str
    metric: str
    unit: str
    better: str
    pair: str
    method: str
    role: Role
    model: str
    value: float | None
    ci_low: float | None
    ci_high: float | None
    ci_method: str
    n: int | None
    n_clusters: int | None
    seed: int
    status: str
    hardware: str
    steps: int | None
    cell: str
    created: str
    kdbench: str
    reason: str = ""

    def sort_key(self) -> tuple[Any, ...]:
        return (self.task, self.metric, _ROLES[self.role], self.pair, self.model, self.protocol)


COLUMNS = tuple(field.name for field in fields(Row))
_cells = attrgetter(*COLUMNS)
_FLOATS = {"value", "ci_low", "ci_high"}
_INTEGERS = {"n", "n_clusters", "seed", "steps"}


def format_cell(value: Any) -> str:
    """A value as the table's text: floats with ten significant digits, nothing for None and NaN."""
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else format(value, ".10g")
    return str(value)


def to_csv(rows: Iterable[Row]) -> str:
    """Rows as CSV text, sorted; floats with ten significant digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=Row.sort_key):
        writer.writerow([format_cell(value) for value in _cells(row)])
    return text.getvalue()


def read_csv(path: Path) -> list[Row]:
    """Rows of a `metrics.csv`; `StoreError` names the line that is not one."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: can't be read: {error}") from error
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
    if missing:
        raise StoreError(f"{path}:1: not a kdbench table: no column {', '.join(missing)}")
    rows = []
    for record in reader:
        try:
            rows.append(Row(**{name: _value(name, record[name]) for name in COLUMNS}))
        except (TypeError, ValueError) as error:
            raise StoreError(f"{path}:{reader.line_num}: {error}") from error
    return rows


def _value(column: str, text: str) -> Any:
    if column in _FLOATS:
        return float(text) if text else None
    if column in _INTEGERS:
        return int(text) if text else None
    return text


def to_json(rows: Sequence[Row]) -> str:
    """Rows as a JSON array of objects, one a line; missing numbers are null."""
    lines = (
        json.dumps(dict(zip(COLUMNS, map(_finite, _cells(row)), strict=True)), ensure_ascii=False)
        for row in sorted(rows, key=Row.sort_key)
    )
    return "[\n" + ",\n".join(lines) + "\n]"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_frame(rows: Sequence[Row]) -> pandas.DataFrame:
    """Rows as a pandas DataFrame with the table's columns."""
    import pandas

    return pandas.DataFrame([_cells(row) for row in rows], columns=list(COLUMNS))
