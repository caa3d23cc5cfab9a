"""Which metrics a person sees first."""

from __future__ import annotations

from typing import Any

from kdbench.run.headlines import Headlines
from kdbench.tasks.speculative.replay import SpeculativeReplay

MEASURED = ["acceptance@3", "alpha", "alpha.gain_over_baseline", "tau@3", "tau@12"]


def record(**ingredients: Any) -> dict[str, Any]:
    return {"cells": [{"label": "drafts/one", "group": "drafts/all", "ingredients": ingredients}]}


def test_a_task_that_names_headlines_shows_those_in_its_own_order() -> None:
    assert SpeculativeReplay.headlines == ("alpha", "tau@?")
    known = Headlines(record(task="speculative.replay"))
    assert known.of("drafts/one", MEASURED[::-1]) == ["alpha", "tau@3"]


def test_the_rows_of_a_group_have_the_headlines_of_its_members() -> None:
    known = Headlines(record(task="speculative.replay"))
    assert known.of("drafts/all", MEASURED) == ["alpha", "tau@3"]


def test_everything_is_a_headline_where_nothing_is_known_of_the_task() -> None:
    for unknown in (
        record(task="not.installed"),
        record(imported={}),
        record(task="reasoning"),
        None,
    ):
        assert Headlines(unknown).of("drafts/one", MEASURED) == MEASURED
    assert Headlines(record(task="speculative.replay")).of("else", MEASURED) == MEASURED


def test_everything_is_a_headline_where_the_patterns_fit_nothing_that_was_measured() -> None:
    known = Headlines(record(task="speculative.replay"))
    assert known.of("drafts/one", ["passes_per_token", "tau"]) == ["passes_per_token", "tau"]
