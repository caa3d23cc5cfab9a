"""Where results lie: the folders that a site is built from, read with their faults named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kdbench.errors import SettingsConflictError, StoreError, did_you_mean
from kdbench.leaderboard.data_files import MARKER
from kdbench.results.addresses import identifier
from kdbench.results.published import Published
from kdbench.results.table import Row, read_csv

_DEPTH = 3
_REMOTE = ("git:", "http://", "https://")


@dataclass(frozen=True)
class RunFolder:
    """One published run: its table, and its record where there is one."""

    published: Published
    label: str
    rows: list[Row]
    record: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def suite(self) -> str:
        return self.record["header"]["suite"] if self.record else self.rows[0].suite

    @cached_property
    def started(self) -> str:
        return str(self.record.get("started") or max(row.created for row in self.rows))

    @cached_property
    def finished(self) -> str:
        return str(self.record.get("finished") or max(row.created for row in self.rows))

    @cached_property
    def id(self) -> str:
        return identifier(self.suite, self.started, self.record.get("digest"), self.label)

    @cached_property
    def confidence(self) -> float:
        return float(self.record["header"]["confidence"]) if self.record else 0.95

    @cached_property
    def cells(self) -> list[dict[str, Any]]:
        """Cells of the record (see `kdbench.run.publish`); empty without one."""
        return list(self.record.get("cells", ()))

    @cached_property
    def pairs(self) -> dict[str, dict[str, Any]]:
        """Pairs by name, from the record or, without one, as far as the rows tell."""
        if self.record:
            return {pair["name"]: pair for pair in self.record["header"]["pairs"]}
        teachers = sorted({row.model for row in self.rows if row.role == "teacher"})
        return {
            row.pair: {
                "name": row.pair,
                "teacher": teachers[0] if len(teachers) == 1 else "",
                "student": row.model,
                "method": row.method,
                "baseline": None,
            }
            for row in self.rows
            if row.pair
        }


@dataclass
class Found:
    """What the given places hold; `faults` says what could not be read."""

    runs: list[RunFolder] = field(default_factory=list)
    claims: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def find(places: Sequence[str], stack: ExitStack) -> Found:
    """Read every results folder in `places`: folders, folders of them, `git:REV:PATH` and addresses.

    What can't be read is a fault and the others go on; a place that does not exist raises
    `SettingsConflictError`. `stack` keeps fetched copies until it is closed.
    """
    found = Found()
    for place in places:
        if place.startswith(_REMOTE):
            from kdbench.results.origins import fetch

            _read(stack.enter_context(fetch(place)), place, found)
            continue
        folder = Path(place)
        if not folder.exists():
            siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
            near = did_you_mean(folder.name, siblings)
            raise SettingsConflictError(f"{place}: no such folder{near}")
        _read(folder, place, found)
    found.runs.sort(key=lambda run: (run.suite, run.started, run.label))
    return found


def _read(root: Path, label: str, found: Found) -> None:
    for folder in _results_in(root, _DEPTH):
        inner = folder.relative_to(root).as_posix()
        name = label.rstrip("/") + ("" if inner == "." else f"/{inner}")
        try:
            if _is_claims(folder):
                found.claims.append(folder)
            else:
                found.runs.append(_run(Published(folder), name))
        except StoreError as error:
            found.faults.append(str(error).replace(str(root), label))


def _results_in(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / MARKER).is_file():
        return  # a site holds a table, too, but no results
    if (folder / "run.json").is_file() or (folder / "metrics.csv").is_file():
        yield folder
        return
    if depth == 0 or not folder.is_dir():
        return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and child.name != "cells" and not child.name.startswith("."):
            yield from _results_in(child, depth - 1)


def _is_claims(folder: Path) -> bool:
    """A table with a column `source` holds what papers say, not what was measured."""
    try:
        with (folder / "metrics.csv").open(encoding="utf-8", errors="replace") as file:
            return "source" in file.readline().rstrip("\n").split(",")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{folder / 'metrics.csv'}: can't be read: {error.strerror}") from error


def _run(published: Published, label: str) -> RunFolder:
    record = published.read_run() or {}
    if record and not published.table.is_file():
        raise StoreError(
            f"{published.table}: missing beside run.json; `kdbench table {label} --rebuild` makes it"
        )
    rows = read_csv(published.table)
    if not rows:
        raise StoreError(f"{published.table}: holds no row; `kdbench run SUITE` makes one")
    return RunFolder(published, label, rows, record)
