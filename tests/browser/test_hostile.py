"""Names and texts that would like to be more than text; results that are not all there."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import OpenPage, build_site
from made_results import MadeCell, publish, publish_cells, samples_of
from playwright.sync_api import Page, expect

from kdbench.results.addresses import pair_id
from kdbench.results.sample import Sample
from kdbench.tasks.task import Metric

SCRIPT = "<script>window.broken=1</script><img src=x onerror=window.broken=1>"
QUOTES = "\"'`</script>${1}&amp;"
ARABIC = "\u202eطالب\u2066 صغير"
EMOJI = "👩‍🎓🇫🇷 e\u0301"
LONG = "x" * 300
NAMES = [SCRIPT, QUOTES, ARABIC, EMOJI, LONG]


def png(colour: int) -> bytes:
    """A PNG of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, colour]))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    task = f"reasoning/{SCRIPT}"
    own = [
        Sample(
            s.id, s.index, s.cluster, s.scores, prompt=f"{SCRIPT} {s.prompt}", target=QUOTES,
            output=f"{SCRIPT} {ARABIC} {s.output}", tags={"<b>tag</b>": SCRIPT},
        )
        for s in samples_of(task, SCRIPT, 30, 0.5)
    ]  # fmt: skip
    publish(
        root / "results" / "made", suite=f"suite {SCRIPT}", teacher=f"teacher {SCRIPT}",
        students={name: 0.5 + k / 20 for k, name in enumerate(NAMES)}, tasks=[task, "reasoning/two"],
        samples={(task, SCRIPT): own}, hardware=f"CPU {SCRIPT}", protocol=f"a={SCRIPT}",
    )  # fmt: skip
    drafts = [Sample(f"s{i}", i, f"s{i}", {"tau@1": [9, 5 + i % 2]}) for i in range(8)]
    tau = Metric("tau@1", "tokens/pass", "higher", "block efficiency", "weighted_mean")
    publish_cells(
        root / "results" / "drafts",
        [
            MadeCell("drafts/one", "speculative.replay", [tau], drafts, student=name)
            for name in (SCRIPT, LONG)
        ],
        suite="without a script",
        students=[SCRIPT, LONG],
    )
    build_site(root / "site", root / "results")
    return root / "site"


@pytest.mark.parametrize("kind", ["file", "http"])
def test_hostile_names_are_text_on_every_page(
    open_page: OpenPage, hostile: Path, kind: str, no_sideways_scroll: Callable[[Page], None]
) -> None:
    page = open_page("/", kind=kind, folder=hostile, width=360)
    links = page.locator("table.front tbody th a")
    assert sorted(links.all_text_contents()) == sorted(NAMES)
    no_sideways_scroll(page)
    link = page.get_by_role("link", name=SCRIPT, exact=True)
    link.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(SCRIPT)
    no_sideways_scroll(page)
    page.get_by_role("link", name="Samples").first.click()
    page.get_by_role("button", name="All (").click()
    expect(page.locator(".sample").first).to_contain_text(SCRIPT)
    no_sideways_scroll(page)
    for route in ("/pareto", "/about"):
        open_page(route, kind=kind, folder=hostile, width=360)
        page.wait_for_timeout(300)
        no_sideways_scroll(page)
    assert page.evaluate("window.broken") is None
    assert page.locator("main img[src=x]").count() == 0


def test_a_hostile_name_is_text_in_a_plot(open_page: OpenPage, hostile: Path) -> None:
    page = open_page(
        f"/pair/{pair_id('without a script', SCRIPT, 'Abacus x2')}", folder=hostile, width=360
    )
    card = page.locator("[data-panel=acceptance]")
    card.scroll_into_view_if_needed()
    expect(card).to_have_attribute("data-drawn", "true", timeout=20_000)
    names = card.locator(".legendtext").all_text_contents()
    assert [name.rstrip("…") for name in names] == [SCRIPT[:31], LONG[:31]]
    assert page.evaluate("window.broken") is None


def test_the_badge_of_a_hostile_name_is_an_image_that_loads(
    open_page: OpenPage, hostile: Path
) -> None:
    page = open_page("/", folder=hostile)
    page.get_by_role("link", name=SCRIPT, exact=True).click()
    badge = page.locator("img.badge-image")
    badge.wait_for()
    assert badge.evaluate("image => image.decode().then(() => image.naturalWidth)") > 50


def test_no_results_become_a_page_that_says_what_to_run(
    open_page: OpenPage, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    done = build_site(tmp_path / "site", tmp_path / "results")
    assert "kdbench run" in done.stderr
    page = open_page("/", folder=tmp_path / "site")
    expect(page.get_by_role("heading", level=1)).to_have_text("No results yet")
    expect(page.locator("pre")).to_contain_text("kdbench run suites/quickstart.yaml")


def test_a_failed_task_leaves_its_student_without_a_mean_and_says_why(
    open_page: OpenPage, tmp_path: Path
) -> None:
    publish(tmp_path / "results" / "made", failed=[("reasoning/two", "good")])
    build_site(tmp_path / "site", tmp_path / "results")
    page = open_page("/", folder=tmp_path / "site")
    row = page.locator("tbody tr", has_text="good")
    expect(row.locator(".badge")).to_have_text("partial")
    assert "1 of" not in row.inner_text(), "no rank without a mean over all tasks"
    row.get_by_role("link").click()
    expect(page.locator("[data-task='reasoning/two']")).to_contain_text("the weights are damaged")


def test_images_of_both_models_stand_side_by_side(open_page: OpenPage, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "made"
    pictures = {}
    for model, colour in (("teacher", 0), ("good", 200)):
        place = folder / "images" / f"{model}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png(colour))
        pictures["images/one", model] = samples_of(
            "images/one", model, 30, 0.5, extra={"image": f"images/{model}.png"}
        )
    publish(folder, students={"good": 0.5}, tasks=["images/one"], samples=pictures)
    build_site(tmp_path / "site", tmp_path / "results")
    page = open_page("/", folder=tmp_path / "site")
    page.get_by_role("link", name="good").first.click()
    page.get_by_role("link", name="Samples").click()
    page.get_by_role("button", name="All (30)").click()
    images = page.locator(".sample").first.locator(".answer img")
    expect(images).to_have_count(2)
    assert images.nth(0).get_attribute("src") != images.nth(1).get_attribute("src")
    assert images.first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
