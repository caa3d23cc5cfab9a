"""Timings have the machine to themselves, and a budget is a duration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from kdbench.commands.run import seconds_of
from kdbench.errors import SettingsConflictError
from kdbench.run.runner import apart


@dataclass(frozen=True)
class Cell:
    key: str
    timing: bool = False

    @property
    def loads(self) -> tuple[str, ...]:
        return self.subject.models


def test_timings_wait_until_no_other_worker_computes() -> None:
    cells: list[Any] = [Cell("a"), Cell("b", True), Cell("c"), Cell("d", True)]
    assert [[c.key for c in batch] for batch in apart(cells, 2)] == [["a", "c"], ["b", "d"]]
    assert [[c.key for c in batch] for batch in apart(cells, 1)] == [["a", "b", "c", "d"]]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_a_budget_is_written_as_a_duration(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "", "-1m", "0s", "1d", "infh", "nanm"])
def test_anything_else_is_no_budget(text: str) -> None:
    with pytest.raises(SettingsConflictError, match="write a duration like 90s, 10m or 2h"):
        seconds_of(text)
