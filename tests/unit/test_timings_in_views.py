"""Timings in comparisons and on the first page: left out where they say nothing, shown where they do."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from made_results import publish

from kdbench.check.compare import compare
from kdbench.errors import SettingsConflictError
from kdbench.leaderboard.entries import entries_of
from kdbench.leaderboard.folders import find
from kdbench.leaderboard.lookup import Lookup


def timed(folder: Path, hardware: str, tasks: tuple[str, ...] = ("efficiency/one",)) -> None:
    """Make the cells of `tasks` timings of a machine."""
    place = folder / "run.json"
    record: dict[str, Any] = json.loads(place.read_text())
    for cell in record["cells"]:
        if cell["label"] in tasks:
            cell["hardware"] = cell["ingredients"]["hardware"] = hardware
    place.write_text(json.dumps(record))


@pytest.fixture
def two_machines(tmp_path: Path) -> tuple[str, str]:
    for name in ("before", "now"):
        publish(tmp_path / name, tasks=("reasoning/one", "efficiency/one"))
        timed(tmp_path / name, f"Abacus of {name}")
    return str(tmp_path / "before"), str(tmp_path / "now")


def test_a_comparison_leaves_timings_out_and_names_them_and_their_machines(
    two_machines: tuple[str, str],
) -> None:
    report = compare(*two_machines, margin=0.05)
    assert {finding.claim.task for finding in report.findings} == {"reasoning/one"}
    (notice,) = report.notices
    assert "efficiency/one" in notice
    assert "Abacus of before" in notice and "Abacus of now" in notice
    assert report.exit_code == 0


def test_timings_alone_leave_nothing_to_compare(two_machines: tuple[str, str]) -> None:
    with pytest.raises(SettingsConflictError, match="timings of two runs are not paired"):
        compare(*two_machines, task="efficiency/*")


def test_timings_of_another_protocol_do_not_stop_a_comparison(tmp_path: Path) -> None:
    publish(tmp_path / "before", tasks=("reasoning/one",))
    publish(tmp_path / "now", tasks=("reasoning/one", "efficiency/one"))
    timed(tmp_path / "now", "Abacus")
    report = compare(str(tmp_path / "before"), str(tmp_path / "now"), margin=0.05)
    assert report.exit_code == 0


def test_speed_is_no_quality(tmp_path: Path) -> None:
    publish(tmp_path / "run", tasks=("reasoning/one", "efficiency/one"))
    timed(tmp_path / "run", "Abacus")
    with ExitStack() as stack:
        (run,) = find([str(tmp_path / "run")], stack).runs
        entries = entries_of(Lookup(run))
    quality = {(e.family, e.pair["name"]): e.numbers["quality"] for e in entries}
    assert quality["reasoning", "good"] is not None
    assert quality["efficiency", "good"] is None
