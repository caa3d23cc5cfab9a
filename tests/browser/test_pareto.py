"""The chart of costs and qualities in a real browser."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import OpenPage, build_site
from made_results import publish, publish_claim
from playwright.sync_api import Page, expect

Point = tuple[float | None, float | None]


def frontier(points: Sequence[Point], better_x: str, better_y: str) -> list[int]:
    """By the definition: nobody is at least as good in both and better in one."""

    def goodness(point: Point) -> tuple[float, float] | None:
        x, y = point
        if x is None or y is None:
            return None
        return (-x if better_x == "lower" else x), (-y if better_y == "lower" else y)

    good = [goodness(point) for point in points]
    return [
        i for i, own in enumerate(good)
        if own is not None
        and not any(o is not None and o != own and o[0] >= own[0] and o[1] >= own[1] for o in good)
    ]  # fmt: skip


@pytest.mark.parametrize("better_x", ["lower", "higher"])
@pytest.mark.parametrize("better_y", ["lower", "higher"])
def test_the_frontier_is_that_of_the_definition_with_ties_and_gaps(
    open_page: OpenPage, better_x: str, better_y: str
) -> None:
    page = open_page("/")
    draw = random.Random(5)
    for size in (0, 1, 2, 7, 40, 200):
        grid = [None, *range(8)] if size < 50 else [None, *(k / 7 for k in range(60))]
        points = [(draw.choice(grid), draw.choice(grid)) for _ in range(size)]
        found = page.evaluate(
            "([points, x, y]) => kdbench.frontier(points, x, y)", [points, better_x, better_y]
        )
        assert found == frontier(points, better_x, better_y)


def chart(page: Page) -> list[dict[str, object]]:
    page.wait_for_selector(".pareto-chart[data-drawn]")
    return page.evaluate(
        "document.querySelector('.pareto-chart').data.map(t => "
        "({name: t.name, x: [...t.x], y: [...t.y], symbol: t.marker && t.marker.symbol}))"
    )


def test_the_chart_holds_the_students_the_frontier_and_the_teacher(
    open_page: OpenPage, site: Path
) -> None:
    page = open_page("/pareto")
    traces = {trace["name"]: trace for trace in chart(page)}
    text = (site / "data" / "front.js").read_text(encoding="utf-8")
    columns = json.loads(text[text.index(",") + 1 : text.rindex(")")])["columns"]
    codes, names = columns["family"]["codes"], columns["family"]["values"]
    rows = [i for i, code in enumerate(codes) if names[code] == "reasoning"]
    sizes = [columns["parameters"][i] for i in rows]
    kept = [columns["retention"]["value"][i] for i in rows]
    assert traces["students"]["x"] == sizes
    assert traces["students"]["y"] == kept
    assert traces["teacher"]["y"] == [1]
    assert traces["teacher"]["symbol"] != traces["students"]["symbol"]
    on_it = [t for t in page.locator("table tbody tr").all_inner_texts() if "on it" in t]
    expected = frontier(
        list(zip(sizes, kept, strict=True)),
        "lower",
        "higher",
    )
    assert len(on_it) == len(expected)


def test_axes_and_scales_are_in_the_address(open_page: OpenPage) -> None:
    page = open_page("/pareto")
    chart(page)
    page.locator("select[data-key=y]").select_option("quality")
    page.get_by_role("button", name="log x").click()
    again = open_page(page.url.split("#", 1)[1])
    chart(again)
    expect(again.locator("select[data-key=y]")).to_have_value("quality")
    assert again.evaluate("document.querySelector('.pareto-chart').layout.xaxis.type") == "log"


def test_a_click_on_a_point_opens_its_pair(open_page: OpenPage) -> None:
    page = open_page("/pareto")
    chart(page)
    box = page.locator(".pareto-chart .scatterlayer .points path").last.bounding_box()
    assert box is not None
    students = page.locator(".pareto-chart .scatterlayer .trace").nth(0).locator("path.point")
    spot = students.first.bounding_box()
    assert spot is not None
    page.mouse.click(spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)
    expect(page.get_by_role("heading", level=1)).to_contain_text("of teacher")


def test_the_chart_follows_the_theme(open_page: OpenPage) -> None:
    page = open_page("/pareto")
    chart(page)
    colour = "document.querySelector('.pareto-chart').layout.font.color"
    light = page.evaluate(colour)
    page.locator("#theme").click()
    page.locator("#theme").click()
    page.wait_for_function(f"() => {colour} !== {json.dumps(light)}")


def test_published_numbers_are_drawn_only_when_asked_for_and_differently(
    open_page: OpenPage, tmp_path: Path
) -> None:
    publish(tmp_path / "results" / "made")
    publish_claim(tmp_path / "results" / "published", title="A <i>paper</i>", params="3M")
    site = tmp_path / "site"
    build_site(site, tmp_path / "results")
    route = "/pareto?x=parameters&y=m%3Areasoning%2Fone%20acc%20student"
    page = open_page(route, folder=site)
    assert "published, not measured" not in {trace["name"] for trace in chart(page)}
    page.get_by_role("button", name="Published numbers").click()
    page.wait_for_function("() => document.querySelector('.pareto-chart').data.length > 2")
    traces = {trace["name"]: trace for trace in chart(page)}
    published = traces["published, not measured"]
    assert (published["x"], published["y"]) == ([3e6], [0.75])
    assert published["symbol"] not in {
        t["symbol"] for n, t in traces.items() if n != published["name"]
    }


def test_axe_finds_nothing_serious(open_page: OpenPage, axe: Callable[[Page], None]) -> None:
    page = open_page("/pareto")
    chart(page)
    axe(page)


def test_a_phone_shows_it_without_sideways_scrolling(
    open_page: OpenPage, no_sideways_scroll: Callable[[Page], None]
) -> None:
    page = open_page("/pareto", width=360)
    chart(page)
    no_sideways_scroll(page)
