"""A pair's page and its samples in a real browser."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from conftest import RESULTS, ROOT, OpenPage
from playwright.sync_api import Page, expect

from kdbench.results.differences import differences
from kdbench.results.published import Published
from kdbench.results.table import read_csv

QUICKSTART = Published(RESULTS / "quickstart")


@pytest.fixture
def forward_kl(open_page: OpenPage) -> Page:
    page = open_page("/")
    page.get_by_role("link", name="forward-kl").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("forward-kl of teacher")
    return page


def stored(task: str, kind: str) -> int:
    record = QUICKSTART.read_run()
    assert record is not None
    names = {c["model"]: c["samples"] for c in record["cells"] if c["label"] == task}
    both = [QUICKSTART.read_samples(names[model]) for model in ("teacher", "forward-kl")]
    return len(list(differences(*both, "exact_match", kind)))  # type: ignore[arg-type]


def test_a_click_on_a_student_shows_every_metric_of_its_table(forward_kl: Page) -> None:
    rows = [row for row in read_csv(QUICKSTART.table) if row.pair == "forward-kl"]
    of_models = {row.task for row in rows if row.role == "student"}
    rows = [row for row in rows if row.role == "student" or row.task not in of_models]
    shown = forward_kl.locator("[data-metric]").evaluate_all(
        "rows => rows.map(r => [r.closest('[data-task]').dataset.task, r.dataset.metric].join(' '))"
    )
    assert sorted(shown) == sorted(f"{row.task} {row.metric}" for row in rows)


REPLAY = "speculative.replay/quickstart_openings/greedy"


def seen(page: Page, task: str) -> list[str]:
    rows = page.locator(f"[data-task='{task}'] [data-metric]:visible")
    return rows.evaluate_all("rows => rows.map(row => row.dataset.metric)")


def test_the_headlines_of_a_task_stand_first_and_the_others_behind_one_control(
    forward_kl: Page, open_page: OpenPage
) -> None:
    headlines = ["alpha", "tau@1", "tau@3", "tau@5"]
    assert seen(forward_kl, REPLAY) == headlines
    every = forward_kl.locator(f"[data-task='{REPLAY}'] [data-metric]").count()
    control = forward_kl.locator(f"[data-task='{REPLAY}']").get_by_role("button")
    expect(control).to_have_accessible_name(f"{every - 4} more metrics of {REPLAY}")
    expect(control).to_have_attribute("aria-expanded", "false")
    control.focus()
    forward_kl.keyboard.press("Enter")
    expect(control).to_have_attribute("aria-expanded", "true")
    assert seen(forward_kl, REPLAY)[:4] == headlines and len(seen(forward_kl, REPLAY)) == every
    assert seen(forward_kl, "efficiency/text/b1-p64-n16") == ["speedup"], "the others stay folded"
    assert forward_kl.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    again = open_page(forward_kl.url.split("#", 1)[1])
    assert len(seen(again, REPLAY)) == every, "the address keeps what is open"
    again.locator(f"[data-task='{REPLAY}']").get_by_role("button").click()
    assert seen(again, REPLAY) == headlines and "more=" not in again.url


def test_a_task_without_headlines_has_nothing_folded(forward_kl: Page) -> None:
    section = forward_kl.locator("[data-task='reasoning/quickstart_reading']")
    assert section.locator("[data-metric]:visible").count() == 2
    assert section.get_by_role("button").count() == 0


def test_values_and_flips_stand_as_they_are_stored(forward_kl: Page) -> None:
    task = "reasoning/quickstart_word_problems"
    line = forward_kl.locator(f"[data-task='{task}'] [data-metric=exact_match]").inner_text()
    lost, gained = stored(task, "lost"), stored(task, "gained")
    assert f"{lost} / {gained}" in line
    kept = next(
        row for row in read_csv(QUICKSTART.table)
        if row.pair == "forward-kl" and row.task == task and row.metric == "exact_match.retention"
    )  # fmt: skip
    assert f"{kept.value:.3f}" in line and f"[{kept.ci_low:.3f}, {kept.ci_high:.3f}]" in line


def test_the_pair_can_be_taken_away_as_a_table(forward_kl: Page) -> None:
    with forward_kl.expect_download() as waiting:
        forward_kl.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(waiting.value.path()).read_text("utf-8"))))
    assert {row["role"] for row in rows} == {"teacher", "student", "baseline", "pair"}
    assert any(row["metric"] == "acc.retention" for row in rows)


def test_the_suite_and_the_command_that_reruns_it_are_there_to_copy(forward_kl: Page) -> None:
    text = forward_kl.locator("pre.suite").inner_text()
    record = QUICKSTART.read_run()
    assert record is not None and text.strip() == record["suite"]["text"].strip()
    assert forward_kl.locator("pre.command").inner_text() == "kdbench run quickstart.yaml"
    forward_kl.get_by_role("button", name="Copy suite").click()
    expect(forward_kl.get_by_role("button", name="Copied")).to_be_visible()


def test_a_panel_that_cannot_be_drawn_says_so_in_its_place(
    open_page: OpenPage, site: Path, tmp_path: Path, page: Page
) -> None:
    import shutil

    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    (copy / "panels" / "categories.js").write_text(
        '"use strict";kdbench.panel("categories", () => { throw new Error("no ink"); });'
    )
    open_page("/", folder=copy).get_by_role("link", name="forward-kl").first.click()
    card = page.locator("[data-panel=categories]")
    card.scroll_into_view_if_needed()
    expect(card).to_contain_text("no ink")
    expect(page.get_by_role("heading", name="Where it comes from")).to_be_visible()


def test_the_samples_where_they_differ_are_those_of_the_store(forward_kl: Page) -> None:
    task = "reasoning/quickstart_word_problems"
    forward_kl.locator(f"[data-task='{task}']").get_by_role("link", name="Samples").click()
    lost, gained = stored(task, "lost"), stored(task, "gained")
    expect(forward_kl.get_by_role("button", name=f"Teacher better ({lost})")).to_be_visible()
    expect(forward_kl.get_by_role("button", name=f"Student better ({gained})")).to_be_visible()
    forward_kl.get_by_role("button", name="Teacher better").click()
    expect(forward_kl.locator(".sample").first.locator(".answer.teacher")).to_contain_text("right")
    expect(forward_kl.locator(".sample").first.locator(".answer.student")).to_contain_text("wrong")
    assert "show=lost" in forward_kl.url


def test_a_filter_by_category_leaves_its_documents_and_survives_a_reload(
    forward_kl: Page, open_page: OpenPage
) -> None:
    task = "reasoning/quickstart_word_problems"
    forward_kl.locator(f"[data-task='{task}']").get_by_role("link", name="Samples").click()
    everything = forward_kl.get_by_role("button", name="All (402)")
    everything.click()
    forward_kl.get_by_label("category").select_option("addition")
    expect(forward_kl.locator(".sample").first).to_contain_text("category: addition")
    expect(forward_kl.get_by_role("status").first).not_to_contain_text("402")
    count = forward_kl.get_by_role("status").first.inner_text()
    again = open_page(forward_kl.url.split("#", 1)[1])
    expect(again.get_by_label("category")).to_have_value("addition")
    expect(again.get_by_role("status").first).to_have_text(count)


def test_the_search_goes_through_prompts_and_outputs(forward_kl: Page) -> None:
    task = "reasoning/quickstart_word_problems"
    forward_kl.locator(f"[data-task='{task}']").get_by_role("link", name="Samples").click()
    forward_kl.get_by_role("button", name="All (402)").click()
    forward_kl.get_by_label("Search").fill("noah pencils")
    expect(forward_kl.get_by_role("status").first).not_to_contain_text("402")
    for text in forward_kl.locator(".sample").all_inner_texts():
        assert "noah" in text.lower() and "pencils" in text.lower()


def test_words_of_the_target_are_marked_in_order(open_page: OpenPage) -> None:
    page = open_page("/")
    found = page.evaluate("kdbench.comparedWords('the cat sat on a mat', 'a cat on the mat')")
    kept = [word for word, same in found if same]
    assert kept == ["cat", "on", "mat"] or kept == ["the", "mat"]
    assert len(kept) == 3, "the longest common run of words"
    assert page.evaluate("kdbench.comparedWords('w '.repeat(1000), 'w')") is None


def test_panels_follow_the_theme(forward_kl: Page) -> None:
    card = forward_kl.locator("[data-panel=reliability]").first
    card.scroll_into_view_if_needed()
    expect(card).to_have_attribute("data-drawn", "true", timeout=20_000)
    colour = "document.querySelector('[data-panel=reliability] .js-plotly-plot')?.layout.font.color"
    light = forward_kl.evaluate(colour)
    forward_kl.emulate_media(color_scheme="dark")
    forward_kl.wait_for_function(f"() => {{ const c = {colour}; return c && c !== '{light}'; }}")


@pytest.mark.parametrize(
    ("route", "scheme"), [("pair", "light"), ("pair", "dark"), ("samples", "light")]
)
def test_axe_finds_nothing_serious(
    forward_kl: Page, axe: Callable[[Page], None], route: str, scheme: Literal["light", "dark"]
) -> None:
    forward_kl.emulate_media(color_scheme=scheme)
    forward_kl.get_by_role("button", name="more metrics").first.click()
    if route == "samples":
        forward_kl.get_by_role("link", name="Samples").nth(1).click()
        expect(forward_kl.locator(".sample").first).to_be_visible()
    axe(forward_kl)


def test_a_phone_shows_both_without_sideways_scrolling(
    open_page: OpenPage, no_sideways_scroll: Callable[[Page], None]
) -> None:
    page = open_page("/", width=360)
    page.get_by_role("link", name="forward-kl").first.click()
    expect(page.get_by_role("heading", name="Where it comes from")).to_be_visible()
    no_sideways_scroll(page)
    page.get_by_role("link", name="Samples").first.click()
    expect(page.locator(".sample").first).to_be_visible()
    no_sideways_scroll(page)


def test_the_link_of_a_broken_gate_opens_the_documents_that_it_counts(
    page: Page, site: Path, serve: Callable[[Path], str], tmp_path: Path
) -> None:
    task, shipped = "reasoning/quickstart_word_problems", ROOT / "suites"
    text = (shipped / "quickstart.yaml").read_text().split("gates:")[0]
    text = text.replace("quickstart/", f"{shipped}/quickstart/")
    suite = tmp_path / "quickstart.yaml"
    suite.write_text(f"{text}gates:\n  - exact_match.lost on {task} for forward-kl <= 0.001\n")
    done = subprocess.run(
        [sys.executable, "-m", "kdbench", "check", str(suite), "--results", str(RESULTS),
         "--output", "markdown=-", "--site", serve(site)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    address = re.search(r"\[All (\d+) documents on the site\]\((\S+)\)", done.stdout)
    assert address is not None, done.stdout
    lost = stored(task, "lost")
    assert int(address[1]) == lost
    page.goto(address[2])
    expect(page.get_by_role("button", name=f"Teacher better ({lost})")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.locator(".sample").first).to_be_visible()
