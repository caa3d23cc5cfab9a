"""The first page in a real browser: what a visitor sorts, filters, links to and takes away."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import RESULTS, OpenPage
from playwright.sync_api import Page, expect

QUICKSTART = ("forward-kl", "on-policy", "scratch")


def students(page: Page) -> list[str]:
    return page.locator("table.front tbody th a").all_inner_texts()


def column(page: Page, key: str) -> list[float]:
    """The leading number of every cell of a column."""
    place = page.locator("table.front thead button").evaluate_all(
        "(buttons, key) => buttons.findIndex((b) => b.dataset.sort === key)", key
    )
    cells = page.locator(f"table.front tbody tr > :nth-child({place + 1})").all_inner_texts()
    return [float(text.replace("\u2212", "-").split()[0]) for text in cells]


@pytest.mark.parametrize("kind", ["file", "http"])
def test_every_student_of_the_results_has_a_row_from_disk_and_over_http(
    open_page: OpenPage, kind: str
) -> None:
    page = open_page("/", kind)
    assert sorted(students(page)) == sorted(QUICKSTART)


def test_a_click_on_a_heading_sorts_best_first_and_a_second_one_turns_it_round(
    open_page: OpenPage,
) -> None:
    page = open_page("/")
    heading = page.locator("[data-sort=retention]")
    heading.click()
    expect(page.locator("th[aria-sort]")).to_contain_text("Retention")
    down = column(page, "retention")
    assert down == sorted(down, reverse=True) and len(set(down)) == 3
    heading.click()
    assert column(page, "retention") == down[::-1]
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_sorting_works_from_the_keyboard_and_keeps_the_focus(open_page: OpenPage) -> None:
    page = open_page("/")
    page.locator("[data-sort=student]").focus()
    page.keyboard.press("Enter")
    assert students(page) == sorted(QUICKSTART)
    assert page.evaluate("document.activeElement.dataset.sort") == "student"


def test_the_search_leaves_only_rows_that_hold_every_word(open_page: OpenPage) -> None:
    page = open_page("/")
    page.get_by_label("Search").fill("kl forward")
    expect(page.locator("table.front tbody tr")).to_have_count(1)
    assert students(page) == ["forward-kl"]
    assert "1 of 3" in page.locator(".count").inner_text()
    page.get_by_label("Search").fill("nobody")
    expect(page.get_by_text("No student matches")).to_be_visible()


def test_a_filter_by_method_goes_into_the_address_and_clear_takes_it_out(
    open_page: OpenPage,
) -> None:
    page = open_page("/")
    page.get_by_label("Method").select_option("on-policy")
    assert students(page) == ["on-policy"]
    assert "method=on-policy" in page.url
    page.get_by_role("button", name="Clear filters").click()
    assert len(students(page)) == 3
    assert "method" not in page.url


def test_a_filter_by_size_keeps_models_within_the_bounds(open_page: OpenPage) -> None:
    page = open_page("/")
    page.get_by_label("Min. M parameters").fill("1000")
    expect(page.locator("table.front tbody tr")).to_have_count(0)
    page.get_by_label("Min. M parameters").fill("0.1")
    expect(page.locator("table.front tbody tr")).to_have_count(3)


def test_an_address_with_a_state_opens_as_the_same_view(open_page: OpenPage) -> None:
    page = open_page("/")
    page.get_by_label("Search").fill("k")
    page.wait_for_url("**q=k**")
    page.locator("[data-sort=retention]").click()
    page.locator("summary", has_text="Columns").click()
    page.locator("[data-column=gap]").set_checked(
        not page.locator("[data-column=gap]").is_checked()
    )
    page.wait_for_url("**cols=**")
    headings = page.locator("table.front thead").inner_text()
    route = page.url.split("#", 1)[1]
    first = students(page)
    again = open_page(route)
    assert students(again) == first
    assert again.locator("table.front thead").inner_text() == headings
    assert again.get_by_label("Search").input_value() == "k"


def test_a_column_of_one_task_can_be_added_and_sorted_by(open_page: OpenPage) -> None:
    page = open_page("/")
    page.locator("summary", has_text="Columns").click()
    box = page.locator(
        "[data-column*='quickstart_word_problems'][data-column*='exact_match']"
    ).first
    key = box.get_attribute("data-column")
    box.check()
    page.keyboard.press("Escape")
    page.locator(f"[data-sort='{key}']").click()
    found = column(page, str(key))
    assert found == sorted(found, reverse=True)


def test_students_that_the_data_cannot_tell_apart_share_their_range_of_ranks(
    open_page: OpenPage,
) -> None:
    page = open_page("/")
    ranks = dict(zip(students(page), page.locator("td.rank").all_inner_texts(), strict=True))
    assert ranks["scratch"].startswith("3"), "both distilled students beat it beyond the interval"
    for name in ("forward-kl", "on-policy"):
        assert ranks[name].split()[0] in {"1", "2", "1\u20132"}


def test_the_download_of_everything_is_the_table_of_the_store(
    open_page: OpenPage, site: Path
) -> None:
    page = open_page("/", "http")
    page.locator("summary", has_text="Download").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="metrics.csv").click()
    text = Path(waiting.value.path()).read_text(encoding="utf-8")
    tables = [
        (RESULTS / name / "metrics.csv").read_text(encoding="utf-8").splitlines()
        for name in ("quickstart", "quickstart-images")
    ]
    head, *lines = text.splitlines()
    assert [head] == tables[0][:1] == tables[1][:1]
    assert sorted(lines) == sorted(line for table in tables for line in table[1:])
    rows = json.loads((site / "metrics.json").read_text(encoding="utf-8"))
    assert len(rows) == len(lines)


def test_the_download_of_the_view_holds_its_rows_and_numbers(open_page: OpenPage) -> None:
    page = open_page("/?sort=-retention&cols=student,retention", "file")
    page.locator("summary", has_text="Download").click()
    texts = {}
    for form in ("CSV", "JSON", "Markdown", "LaTeX"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=form, exact=True).click()
        texts[form] = Path(waiting.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(texts["CSV"])))
    assert [row["student"] for row in rows] == students(page)
    assert [round(float(row["retention"]), 3) for row in rows] == column(page, "retention")
    assert json.loads(texts["JSON"])[0]["student"] == rows[0]["student"]
    assert texts["Markdown"].count("\n") == 2 + len(rows)
    assert r"\begin{tabular}{lr}" in texts["LaTeX"]
    assert r"forward-kl" in texts["LaTeX"]


def test_every_family_shows_numbers_with_intervals_best_first(open_page: OpenPage) -> None:
    page = open_page("/")
    tabs = page.get_by_role("group", name="Task family").get_by_role("button")
    titles = tabs.all_inner_texts()
    assert {"Language", "Fidelity", "Drafts: acceptance", "Speed and memory", "Images"} <= {*titles}
    for title in titles:
        tabs.filter(has_text=re.compile(f"^{re.escape(title)}$")).click()
        expect(page.locator("[aria-pressed=true]")).to_have_text(title)
        expect(page.locator("th[aria-sort]")).to_have_count(1)
        for row in page.locator("table.front tbody tr").all():
            assert row.locator("td.measure .range-text").count() > 0, title
    page.get_by_role("button", name="Fidelity").click()
    key = page.locator("th[aria-sort] button").get_attribute("data-sort")
    assert key == "m:fidelity/quickstart_reading forward_kl pair"
    expect(page.locator("th[aria-sort]")).to_contain_text("nats/token, lower is better")
    assert column(page, key) == sorted(column(page, key))


def test_what_is_kept_and_bought_fits_a_laptops_window(open_page: OpenPage) -> None:
    page = open_page("/")
    expect(page.locator("[data-sort=speedup]")).to_be_visible()
    table = page.get_by_role("region", name="Table of students")
    assert table.evaluate("table => table.scrollWidth <= table.clientWidth")


def test_a_phone_shows_the_quality_beside_the_name_and_the_method_below_it(
    open_page: OpenPage,
) -> None:
    page = open_page("/", width=360)
    first = page.locator("table.front tbody tr").first
    box = first.locator("td.measure").first.bounding_box()
    assert box is not None and box["x"] + box["width"] <= 360
    expect(first.locator("th")).to_contain_text("on-policy of teacher")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    open_page: OpenPage, axe: Callable[[Page], None], page: Page, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_page("/")
    page.locator("summary", has_text="Columns").click()
    page.wait_for_selector("[data-column]")
    axe(page)


def test_a_phone_shows_it_without_sideways_scrolling(
    open_page: OpenPage, no_sideways_scroll: Callable[[Page], None]
) -> None:
    no_sideways_scroll(open_page("/", width=360))


def test_nothing_is_loaded_that_the_first_view_does_not_show(
    open_page: OpenPage, page: Page
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_page("/", "http")
    names = {url.split("/", 3)[3].split("#")[0] for url in asked if url.startswith("http")}
    assert "plotly.min.js" not in names
    assert {name for name in names if name.startswith("data/")} == {"data/site.js", "data/front.js"}


def test_the_shell_is_at_most_150_kilobytes(site: Path) -> None:
    shell = [site / "index.html", *(site / "style").iterdir(), *(site / "script").iterdir()]
    assert sum(path.stat().st_size for path in shell) <= 150_000


def test_no_script_stands_in_the_page_and_the_policy_forbids_it(open_page: OpenPage) -> None:
    page = open_page("/")
    assert page.locator("script:not([src])").count() == 0
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content") or ""
    scripts = next(part for part in policy.split(";") if part.strip().startswith("script-src"))
    assert scripts.split() == ["script-src", "'self'"]
    assert "default-src 'none'" in policy


def test_an_unknown_page_says_so_and_leaves_the_way_back(open_page: OpenPage) -> None:
    page = open_page("/nowhere")
    expect(page.get_by_role("alert")).to_contain_text("nowhere")
    page.get_by_role("link", name="Students").click()
    expect(page.locator("table.front")).to_be_visible()
