"""Many runs as one set of rows: the newest of each suite and machine is shown, the others are its history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kdbench.leaderboard.folders import RunFolder
from kdbench.results.table import Row


@dataclass
class Merged:
    """`shown` are the newest runs, `earlier` what came before each of them (by its id), oldest first."""

    shown: list[RunFolder] = field(default_factory=list)
    earlier: dict[str, list[RunFolder]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        rows = [row for run in self.shown for row in run.rows]
        return sorted(rows, key=lambda row: (row.suite, row.hardware, row.sort_key()))


def hardware_of(run: RunFolder) -> str:
    """The machines of a run's rows, in words."""
    return " + ".join(sorted({row.hardware for row in run.rows if row.hardware}))


def merge(runs: Sequence[RunFolder]) -> Merged:
    """Newest wins, and it is said; runs of one suite on different machines stay apart."""
    merged = Merged()
    groups: dict[tuple[str, str], list[RunFolder]] = defaultdict(list)
    for run in runs:
        rows, doubles = _newest_of_each(run.rows)
        if doubles:
            merged.notices.append(
                f"{run.label}: {doubles} rows are there twice; the newest of each is shown"
            )
        clean = replace(run, rows=rows)
        groups[run.suite, hardware_of(clean)].append(clean)
    machines: dict[str, list[str]] = defaultdict(list)
    for (suite, hardware), members in groups.items():
        members.sort(key=lambda run: (run.started, run.finished, run.label))
        *before, newest = members
        merged.shown.append(newest)
        merged.earlier[newest.id] = before
        machines[suite].append(hardware)
        if before:
            cells = {row.cell for row in newest.rows}
            shared = len({row.cell for run in before for row in run.rows} & cells - {""})
            merged.notices.append(
                f"{suite}: {len(members)} runs on {hardware or 'an unknown machine'}; the newest "
                f"({newest.label}, {newest.started[:10]}) is shown, the others are its history"
                + (f"; {shared} cells are in several of them" if shared else "")
            )
        if " + " in hardware:
            merged.notices.append(
                f"{newest.label}: rows of one run come from different machines ({hardware}); "
                "compare timings only within one of them"
            )
    for suite, found in machines.items():
        if len(found) > 1:
            merged.notices.append(
                f"{suite} was measured on {len(found)} machines, which are shown as rows of their "
                f"own: {', '.join(sorted(found))}"
            )
    return merged


def _newest_of_each(rows: Sequence[Row]) -> tuple[list[Row], int]:
    newest: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = (row.task, row.protocol, row.metric, row.role, row.pair, row.model)
        if key not in newest or row.created >= newest[key].created:
            newest[key] = row
    return list(newest.values()), len(rows) - len(newest)
