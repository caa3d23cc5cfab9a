"""`kdbench baseline accept`: today's results become what later ones are compared with."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kdbench.check.claims import differing
from kdbench.errors import SettingsConflictError, StoreError
from kdbench.results.files import writing
from kdbench.results.lines import with_interval
from kdbench.results.published import Published
from kdbench.results.table import Row, read_csv

_FILES = ("metrics.csv", "run.json")


def changes(before: Sequence[Row], now: Sequence[Row]) -> list[str]:
    """What differs between two tables, a line each: new and lost rows, moved values, other protocols."""

    def key(row: Row) -> tuple[str, ...]:
        return (row.task, row.metric, row.role, row.pair, row.model)

    old, new = {key(row): row for row in before}, {key(row): row for row in now}
    lines = []
    for what in [*old, *(k for k in new if k not in old)]:
        one, other = old.get(what), new.get(what)
        name = f"{what[0]} {what[1]} {what[3] or what[4]}"
        if one is None or other is None:
            row = other or one
            assert row is not None
            lines.append(f"{'+' if one is None else '-'} {name}: {with_interval(row)}")
        elif one.protocol != other.protocol:
            lines.append(f"~ {name}: other protocol ({differing(one.protocol, other.protocol)})")
        elif (one.value, one.status) != (other.value, other.status):
            lines.append(f"~ {name}: {with_interval(one)} -> {with_interval(other)}")
    return lines


def accept(results: Path, target: Path, dry_run: bool = False) -> list[str]:
    """Copy `results` over the baseline `target`, by one rename, and return what changes by that.

    Raises `StoreError` where `results` holds none, `SettingsConflictError` where both are one folder.
    """
    source = Published(results)
    if source.read_run() is None:
        raise StoreError(
            f"{results}: no results here (no run.json); `kdbench run SUITE` makes them"
        )
    if target.resolve() == results.resolve():
        raise SettingsConflictError(
            f"{target}: the results lie there already; commit them, or name another folder with --to"
        )
    old = read_csv(target / "metrics.csv") if (target / "metrics.csv").is_file() else []
    lines = changes(old, read_csv(source.table))
    if dry_run:
        return lines
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for name in _FILES:
                shutil.copyfile(results / name, fresh / name)
            shutil.copytree(results / "samples", fresh / "samples")
            fresh.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return lines
