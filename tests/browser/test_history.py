"""Several runs of one suite, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import OpenPage, build_site
from made_results import publish
from playwright.sync_api import Page, expect


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: the second much better for one student, the third with another torch."""
    root = tmp_path_factory.mktemp("history")
    for number, (good, torch) in enumerate([(0.5, "2.0"), (0.85, "2.0"), (0.84, "2.1")], start=1):
        publish(
            root / "results" / f"run{number}",
            students={"good": good, "poor": 0.4},
            n=200,
            started=f"2026-0{number}-01T00:00:00+00:00",
            record={"packages": {"torch": torch}},
        )
    build_site(root / "site", root / "results")
    return root / "site"


@pytest.fixture
def history(open_page: OpenPage, runs: Path) -> Page:
    page = open_page("/", folder=runs)
    page.get_by_role("link", name="good").first.click()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("History of made")
    return page


def test_only_the_newest_run_is_on_the_first_page_and_that_is_said(
    open_page: OpenPage, runs: Path
) -> None:
    page = open_page("/", folder=runs)
    assert page.locator("table.front tbody tr").count() == 2
    page.locator("details.notice summary").click()
    assert "3 runs" in page.locator("details.notice").inner_text()


def test_each_metric_is_a_line_with_a_mark_where_it_left_its_interval(history: Page) -> None:
    card = history.locator("[data-series='reasoning/one · acc']")
    expect(card.locator("circle")).to_have_count(9)
    assert card.locator("circle.shift").count() == 1, "only the second run of the better student"
    assert card.locator("line.change").count() == 1


def test_what_changed_between_the_runs_is_listed(history: Page) -> None:
    history.get_by_text("What changed").click()
    assert "torch 2.0 → 2.1" in history.locator("ol").inner_text()


def test_a_choice_of_metric_is_in_the_address(history: Page) -> None:
    history.get_by_label("Metric").select_option("acc.retention")
    expect(history.locator("[data-series]")).to_have_count(2)
    assert "metric=acc.retention" in history.url


def test_axe_finds_nothing_serious_and_a_phone_needs_no_sideways_scrolling(
    history: Page,
    axe: Callable[[Page], None],
    no_sideways_scroll: Callable[[Page], None],
) -> None:
    axe(history)
    history.set_viewport_size({"width": 360, "height": 800})
    no_sideways_scroll(history)
