"""Claims of papers and the coverage of their needs, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import RESULTS, OpenPage, build_site
from made_results import publish, publish_claim
from playwright.sync_api import Page, expect

from kdbench.results.claims import read


def test_every_claim_is_listed_and_none_of_them_as_measured(open_page: OpenPage) -> None:
    page = open_page("/published")
    claims = read(RESULTS / "published")
    expect(page.get_by_role("status")).to_have_text(
        f"{len(claims)} of {len(claims)} published numbers"
    )
    assert page.locator("tbody tr").count() == 50
    assert page.locator("tbody tr .diamond").count() == 50
    assert all("published" in text for text in page.locator("tbody tr th").all_text_contents())


def test_the_filters_leave_what_they_say_and_stand_in_the_address(open_page: OpenPage) -> None:
    page = open_page("/published")
    page.get_by_label("Metric").select_option("frechet_distance")
    page.get_by_label("Kind of number").select_option("score")
    wanted = [
        row for row in read(RESULTS / "published")
        if row.row.metric == "frechet_distance" and row.quantity == "score"
    ]  # fmt: skip
    expect(page.locator("tbody tr")).to_have_count(len(wanted))
    again = open_page(page.url.split("#", 1)[1])
    expect(again.locator("tbody tr")).to_have_count(len(wanted))


def test_gains_and_bounds_stay_what_they_are(open_page: OpenPage) -> None:
    page = open_page("/published")
    page.get_by_role("searchbox").fill("Hyper-SD aesthetic")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("gain")
    page.get_by_role("searchbox").fill("MetaQA micro-F1")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("≥ 0.90")


def test_a_paper_is_linked_by_its_title_without_a_request(open_page: OpenPage) -> None:
    page = open_page("/published")
    link = page.locator("tbody tr th a").first
    assert "scholar.google.com/scholar?q=%22" in (link.get_attribute("href") or "")
    assert "noopener" in (link.get_attribute("rel") or "")


@pytest.mark.parametrize("same", [True, False])
def test_a_measured_value_stands_beside_a_claim_only_in_the_same_protocol(
    open_page: OpenPage, tmp_path: Path, same: bool
) -> None:
    protocol = "as published; dataset=one" if same else "harness=made 1"
    publish(tmp_path / "results" / "made", protocol=protocol)
    publish_claim(tmp_path / "results" / "published")
    site = tmp_path / "site"
    build_site(site, tmp_path / "results")
    page = open_page("/published", folder=site)
    beside = page.locator("tbody tr td").last
    if same:
        expect(beside).to_contain_text("measured − published")
        page.locator("tbody tr td a").first.click()
        expect(page.locator(".claim").first).to_contain_text("published 0.750, measured")
    else:
        assert beside.inner_text() == ""


def coverage(site: Path) -> dict[str, Any]:
    text = (site / "data" / "coverage.js").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text[text.index(",") + 1 : text.rindex(")")])
    return found


def test_every_paper_has_a_line_with_what_it_needs(open_page: OpenPage, site: Path) -> None:
    page = open_page("/coverage")
    data = coverage(site)
    papers = (RESULTS / "published" / "papers.jsonl").read_text(encoding="utf-8").splitlines()
    assert page.locator("tr[data-paper]").count() == len(papers) == len(data["papers"])
    assert page.locator(".need").count() == sum(len(paper["needs"]) for paper in data["papers"])
    page.get_by_label("Measured today").select_option("some")
    expect(page.locator("tr[data-paper]")).to_have_count(data["counts"]["some"])


@pytest.mark.parametrize("route", ["/published", "/coverage", "/about"])
def test_axe_finds_nothing_serious_and_a_phone_needs_no_sideways_scrolling(
    open_page: OpenPage,
    axe: Callable[[Page], None],
    no_sideways_scroll: Callable[[Page], None],
    route: str,
) -> None:
    axe(open_page(route))
    no_sideways_scroll(open_page(route, width=360))


def test_the_page_about_the_site_can_be_cited(open_page: OpenPage) -> None:
    page = open_page("/about")
    assert page.locator("pre.cite").inner_text().startswith("@software{kdbench")
    assert "Bonferroni" in page.locator("main").inner_text()
