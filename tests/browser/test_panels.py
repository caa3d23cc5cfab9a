"""Every panel of a pair's page in a real browser: what is drawn is what the store holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import RESULTS, build_site, watched
from made_results import ACC, MadeCell, publish_cells
from playwright.sync_api import Browser, Locator, Page, expect

from kdbench.metrics import frechet
from kdbench.metrics.moments import Moments
from kdbench.results.addresses import pair_id
from kdbench.results.published import Published
from kdbench.results.sample import Sample
from kdbench.results.table import Row, read_csv
from kdbench.tasks.aggregate import OWN
from kdbench.tasks.efficiency.serving import EfficiencyServing, ServingParams
from kdbench.tasks.sampled import Sampled
from kdbench.tasks.task import Metric, Summary

ROLES = ("teacher", "student")
WORDS, READING = "reasoning/quickstart_word_problems", "reasoning/quickstart_reading"
Card = Callable[..., Locator]


@cache
def rows(folder: Path, pair: str) -> list[Row]:
    """What the table says of a pair, and of the models alone."""
    return [row for row in read_csv(folder / "metrics.csv") if row.pair in ("", pair)]


def row(folder: Path, pair: str, task: str, metric: str, role: str = "pair") -> Row:
    (found,) = [
        row
        for row in rows(folder, pair)
        if (row.task, row.metric, row.role) == (task, metric, role)
    ]
    return found


def samples(folder: Path, task: str, subject: str) -> list[Sample]:
    """Samples of a model, or of a pair by its student, as they are stored."""
    record = Published(folder).read_run()
    assert record is not None
    (name,) = [
        cell["samples"]
        for cell in record["cells"]
        if cell["label"] == task and subject in (cell["model"], cell["student"])
    ]
    return Published(folder).read_samples(name)


@pytest.fixture(scope="module")
def kept(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """One page for all panels: the plot library is slow to load."""
    with watched(browser) as both:
        yield both


@pytest.fixture
def card(kept: tuple[Page, list[str]], site: Path) -> Iterator[Card]:
    """card(suite, pair, panel, task=..., root=...) -> a panel on its pair's page, drawn; `root` holds
    results/ and site/ where they are not the committed ones."""
    page, wrong = kept

    def call(
        suite: str, pair: str, panel: str, task: str = "", root: Path | None = None
    ) -> Locator:
        table = rows((root / "results" if root else RESULTS) / suite, pair)
        hardware = " + ".join(sorted({row.hardware for row in table if row.hardware}))
        start = ((root / "site" if root else site) / "index.html").as_uri()
        address = f"{start}#/pair/{pair_id(suite, pair, hardware)}"
        if page.url != address:
            page.goto(address)
            expect(page.get_by_role("heading", level=1)).to_have_text(f"{pair} of teacher")
        found = page.locator(f"[data-panel={panel}]", has_text=task).first
        found.scroll_into_view_if_needed()
        expect(found).to_have_attribute("data-drawn", "true", timeout=20_000)
        assert found.locator(".notice").count() == 0, found.inner_text()
        return found

    yield call
    assert not wrong, "\n".join(wrong)


def traces(card: Locator) -> dict[str, dict[str, list[Any]]]:
    """The drawn data by their names in the legend; there must be marks of them to see."""
    plot = card.locator(".js-plotly-plot")
    expect(plot.locator(".main-svg").first).to_be_visible()
    marks = plot.locator(".scatterlayer path.point, .scatterlayer path.js-line, .barlayer .point")
    assert marks.count() > 0, "an empty plot"
    found = plot.evaluate(
        "plot => plot.data.map(t => ({name: t.name ?? '', x: [...t.x], y: [...t.y],"
        " low: t.error_y?.arrayminus ?? [], high: t.error_y?.array ?? []}))"
    )
    return {trace.pop("name"): trace for trace in found}


def axes(card: Locator) -> tuple[str, str]:
    """Titles of both axes as they stand in the picture."""
    plot = card.locator(".js-plotly-plot")
    across, up = ("".join(plot.locator(f".{axis}title").all_text_contents()) for axis in "xy")
    return across, up


def table_of(card: Locator) -> list[list[str]]:
    """The cells of a panel's first table, heading included."""
    return (
        card.locator("table")
        .first.locator("tr")
        .evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))")
    )


def numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(r"-?\d+\.?\d*", text.replace("\u2212", "-"))]


def shown(text: str, row: Row, factor: float = 1.0, tolerance: float = 6e-3) -> bool:
    """Whether a text shows a row's value and, where it has some, its bounds."""
    wanted = [x for x in (row.value, row.ci_low, row.ci_high) if x is not None]
    return numbers(text) == pytest.approx([x * factor for x in wanted], rel=tolerance, abs=6e-4)


# ---- language


def test_the_calibration_curve_holds_every_document_and_averages_to_the_accuracy(
    card: Card,
) -> None:
    found = card("quickstart", "forward-kl", "reliability", READING)
    curves = traces(found)
    assert axes(found) == ("probability of the choice", "share that is right")
    found.locator("summary").click()
    bins = [numbers(" ".join(line[1:])) for line in table_of_details(found)[1:]]
    for place, role in enumerate(ROLES):
        model = "teacher" if role == "teacher" else "forward-kl"
        sure = sorted(
            _confidence(sample) for sample in samples(RESULTS / "quickstart", READING, model)
        )
        own = bins[place * len(bins) // 2 : (place + 1) * len(bins) // 2]
        counts = [int(numbers_of_a_bin[-1]) for numbers_of_a_bin in own]
        assert sum(counts) == len(sure) == 400
        assert curves[role]["x"][0] == pytest.approx(np.mean(sure[: counts[0]]))
        known = row(RESULTS / "quickstart", "forward-kl", READING, "acc", role)
        assert np.average(curves[role]["y"], weights=counts) == pytest.approx(known.value)


def _confidence(sample: Sample) -> float:
    weights = np.exp(np.array(sample.extra["logprobs"]) - max(sample.extra["logprobs"]))
    return float(weights.max() / weights.sum())


def table_of_details(card: Locator) -> list[list[str]]:
    return card.locator("details table tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )


def test_the_divergence_of_the_first_tokens_is_the_mean_of_the_stored_ones(card: Card) -> None:
    task = "fidelity/quickstart_rolling"
    found = card("quickstart", "forward-kl", "divergence", task)
    (curve,) = [trace for trace in _all_traces(found) if trace["mode"] == "lines+markers"]
    kept = [s.extra["forward_kl"] for s in samples(RESULTS / "quickstart", task, "forward-kl")]
    for position in (0, 1, 7):
        place = curve["x"].index(position + 1)
        stored = [values[position] for values in kept if len(values) > position]
        assert curve["y"][place] == pytest.approx(np.mean(stored))
    assert axes(found) == ("scored token of the text", "KL(teacher || student), nats")


def _all_traces(card: Locator) -> list[dict[str, Any]]:
    traces(card)
    return card.locator(".js-plotly-plot").evaluate(
        "plot => plot.data.map(t => ({mode: t.mode, x: [...t.x], y: [...t.y]}))"
    )


def test_scores_by_category_are_those_of_its_documents(card: Card) -> None:
    found = card("quickstart", "forward-kl", "categories", WORDS)
    both = [samples(RESULTS / "quickstart", WORDS, name) for name in ("teacher", "forward-kl")]
    lines = {cells[0]: cells[1:] for cells in table_of(found)[1:]}
    assert set(lines) == {sample.tags["category"] for sample in both[0]}
    assert sum(int(cells[-1]) for cells in lines.values()) == len(both[0])
    for category in ("addition", "subtraction"):
        teacher, student = (
            [s.scores["exact_match"] for s in own if s.tags["category"] == category] for own in both
        )
        teachers, students, gap, flips, _ = lines[category]
        assert numbers(teachers)[0] == pytest.approx(np.mean(teacher), abs=6e-4)
        assert numbers(students)[0] == pytest.approx(np.mean(student), abs=6e-4)
        assert numbers(gap)[0] == pytest.approx(np.mean(student) - np.mean(teacher), abs=6e-4)
        lost = sum(a > b for a, b in zip(teacher, student, strict=True))
        assert flips.startswith(f"{lost} /")


# ---- drafts


def test_tokens_per_pass_of_every_draft_are_the_tables(card: Card) -> None:
    task = "speculative.replay/quickstart_openings/greedy"
    found = card("quickstart", "forward-kl", "acceptance", task)
    curves = traces(found)
    assert axes(found) == ("drafts in a chain (gamma)", "tokens per pass of the teacher")
    for pair in ("forward-kl", "on-policy", "scratch"):
        assert curves[pair]["x"] == [1, 3, 5]
        for place, gamma in enumerate((1, 3, 5)):
            known = row(RESULTS / "quickstart", pair, task, f"tau@{gamma}")
            assert curves[pair]["y"][place] == pytest.approx(known.value)
            assert curves[pair]["y"][place] - curves[pair]["low"][place] == pytest.approx(
                known.ci_low
            )
    (line,) = [cells for cells in table_of(found) if cells[0] == "forward-kl"]
    assert shown(line[1], row(RESULTS / "quickstart", "forward-kl", task, "alpha"))
    expect(found.get_by_text("recall_object")).to_be_visible()


def test_the_speedup_of_drafts_stands_measured_and_predicted(card: Card) -> None:
    task = "speculative.loop/quickstart_openings/greedy"
    found = card("quickstart", "forward-kl", "speedup", task)
    curves = traces(found)
    for name, metric in (("measured", "speedup@3"), ("predicted", "predicted_speedup@3")):
        known = row(RESULTS / "quickstart", "forward-kl", task, metric)
        assert (curves[name]["x"], curves[name]["y"]) == ([3], [pytest.approx(known.value)])
    across, up = axes(found)
    assert across == "drafts in a chain (gamma)"
    assert up == "speed-up over plain writing"


# ---- images


@pytest.mark.parametrize("task", ["equal_noise/digits", "images/digits"])
def test_images_from_equal_noise_stand_side_by_side_as_they_are_stored(
    card: Card, task: str
) -> None:
    found = card("quickstart-images", "progressive", "contact-sheet", task)
    images = found.locator("img")
    assert images.count() >= 20
    images.evaluate_all("images => Promise.all(images.map(image => image.decode()))")
    assert min(images.evaluate_all("images => images.map(image => image.naturalWidth)")) > 0
    folder = RESULTS / "quickstart-images"
    student = samples(folder, task, "progressive")[0]
    if task.startswith("images"):
        teacher = samples(folder, task, "teacher")[0]
        assert teacher.id == student.id, "asked the same, from the same noise"
        wanted = [teacher.extra["thumbnails"][0], student.extra["thumbnails"][0]]
    else:
        wanted = [student.extra["teacher"][0], student.extra["student"][0]]
    pair = [images.nth(0), images.nth(1)]
    assert [one.get_attribute("src") for one in pair] == [
        f"data:image/png;base64,{content}" for content in wanted
    ]
    left, right = (one.bounding_box() for one in pair)
    assert left is not None and right is not None
    assert left["y"] == pytest.approx(right["y"], abs=1) and left["x"] < right["x"]


def test_quality_against_evaluations_is_the_tables_for_every_metric_that_is_chosen(
    card: Card,
) -> None:
    task = "images/digits"
    found = card("quickstart-images", "progressive", "quality", task)
    for metric in ("frechet[classifier]", "recall[classifier]"):
        found.get_by_label("Metric").select_option(label=metric)
        expect(found.locator(".ytitle")).to_contain_text(metric)
        points = traces(found)
        for role in ROLES:
            known = row(RESULTS / "quickstart-images", "progressive", task, metric, role)
            assert points[role]["x"] == [32 if role == "teacher" else 2]
            assert points[role]["y"] == [pytest.approx(known.value)]
            assert points[role]["y"][0] + points[role]["high"][0] == pytest.approx(known.ci_high)
    assert axes(found)[0] == "network evaluations per image (NFE)"


# ---- speed


def test_the_latency_grid_shows_the_tables_medians_at_every_shape(card: Card) -> None:
    found = card("quickstart", "forward-kl", "latency-grid")
    lines = table_of(found)[1:]
    for place, shape in enumerate(("b1-p64-n16", "b8-p64-n16")):
        whole = lines[3 * place]
        task = f"efficiency/text/{shape}"
        assert whole[0].replace("\u00a0", " ") == f"{shape[1]} x (64 + 16)"
        for column, metric, factor in (
            (2, "latency.teacher", 1e3), (3, "latency.student", 1e3), (4, "speedup", 1),
        ):  # fmt: skip
            known = row(RESULTS / "quickstart", "forward-kl", task, metric)
            assert shown(whole[column], known, factor)


def test_points_of_the_roofline_lie_under_it_at_the_measured_share(card: Card) -> None:
    found = card("quickstart", "forward-kl", "roofline")
    drawn = traces(found)
    assert axes(found) == ("FLOP per byte that must move", "FLOP/s")
    top = max(drawn["measured ceilings"]["y"])
    for role in ROLES:
        for place, shape in enumerate(("b1-p64-n16", "b8-p64-n16")):
            task, metric = f"efficiency/text/{shape}", f"mfu.prefill.{role}"
            known = row(RESULTS / "quickstart", "forward-kl", task, metric)
            share = drawn[f"{role}, prefill"]["y"][place] / top
            # medians of a product and products of medians are not the same number
            assert share == pytest.approx(known.value, rel=0.05)
    assert all(0 < y <= top for trace in drawn.values() for y in trace["y"])


def test_memory_by_phase_is_the_tables(card: Card) -> None:
    task = "efficiency/footprint/b1-p64-n16"
    found = card("quickstart", "forward-kl", "memory")
    bars = traces(found)
    for phase in ("weights", "cache", "activations"):
        for place, role in enumerate(ROLES):
            known = row(RESULTS / "quickstart", "forward-kl", task, f"peak_memory.{phase}", role)
            assert bars[phase]["x"][place] * 2**20 == pytest.approx(known.value)
    assert axes(found)[0] == "MiB"


def test_latency_by_batch_is_the_tables(card: Card) -> None:
    task = "efficiency/image/b1"
    found = card("quickstart-images", "progressive", "batch-latency")
    points = traces(found)
    assert axes(found) == ("images at a time", "images per second")
    for line, role in zip(table_of(found)[1:], ROLES, strict=True):
        known = row(RESULTS / "quickstart-images", "progressive", task, f"images_per_second.{role}")
        assert (points[role]["x"], points[role]["y"]) == ([1], [pytest.approx(known.value)])
        latency = row(RESULTS / "quickstart-images", "progressive", task, f"latency.{role}")
        assert line[2] == ("32" if role == "teacher" else "2")
        assert shown(line[3], latency, 1e3)


# ---- families that the committed results lack


def answers(model: str, right: float, spent: int) -> list[Sample]:
    """Four drawn answers to each of forty problems."""
    draw = np.random.default_rng(sum(map(ord, model)))
    found = []
    for index in range(40):
        hits = [int(x) for x in draw.random(4) < right]
        tokens = [int(x) for x in draw.integers(spent // 2, spent, 4)]
        scores = {"avg@4": float(np.mean(hits)), "tokens": float(np.mean(tokens))}
        found.append(Sample(
            f"problem{index}", index, f"problem{index}", scores, output="7",
            extra={"right": hits, "tokens": tokens, "finish": ["stop"] * 4},
        ))  # fmt: skip
    return found


def stories(model: str, tokens: int) -> list[Sample]:
    """Answers of a few lengths around `tokens`."""
    found = []
    for index in range(30):
        extra = {"finish": "stop", "tokens": tokens + (index * len(model)) % 4}
        found.append(
            Sample(f"s{index}", index, f"s{index}", {"acc": 1.0}, "Q?", "A", "A", {}, extra)
        )
    return found


def loads() -> Iterator[MadeCell]:
    """Six rounds of two servers under three loads."""
    for number, (given, answered) in enumerate([
        ({"concurrency": [1]}, 2.0), ({"concurrency": [8]}, 6.0), ({"rate": [4.0]}, 4.0),
    ]):  # fmt: skip
        task = EfficiencyServing(
            ServingParams.model_validate({"prompt_tokens": 32, "new_tokens": 16, **given}), Path()
        )
        draw = np.random.default_rng(number)
        own = []
        for index in range(6):
            noise = float(draw.uniform(0.95, 1.05))
            scores: dict[str, Any] = {}
            for role, factor in (("teacher", 1.0), ("student", 0.5)):
                first, token = 0.1 * (number + 1) * factor * noise, 0.02 * factor * noise
                scores |= {
                    f"ttft.{role}": first, f"tpot.{role}": token,
                    f"latency.{role}": first + 15 * token,
                    f"requests_per_second.{role}": answered / factor / noise,
                    f"output_tokens_per_second.{role}": 16 * answered / factor / noise,
                }  # fmt: skip
            scores["speedup"] = [scores["latency.teacher"], scores["latency.student"]]
            own.append(Sample(f"round{index}", index, f"round{index}", scores))
        there = [m for m in task.metrics() if m.name in own[0].scores]
        yield MadeCell(task.label, "efficiency.serving", there, own, student="good", timed=True)


def extrapolated(shift: float) -> tuple[list[Sample], dict[str, Any]]:
    """A thousand images whose features lie `shift` beside the reference, and their fit in 1/N."""
    features = np.random.default_rng(1).normal(shift, 1, (1000, 6))
    line = frechet.frechet_infinity(features, np.zeros(6), np.eye(6))
    parts = [Moments.of(features[fold::20]) for fold in range(20)]
    fit = frechet.extrapolated(line, frechet.frechet_of_folds(parts, np.zeros(6), np.eye(6)))
    summary = Summary(fit.estimate(), fit, {"slope": line.slope})
    own = [Sample(f"image{i}", i, f"image{i}", {}, extra={"steps": 4}) for i in range(1000)]
    return own, {"frechet_infinity[made]": summary.to_json()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results/made and the site of it."""
    root = tmp_path_factory.mktemp("panels")
    sampled = [m for m in Sampled.known_metrics() if m.name == "tokens"]
    sampled.append(Metric("avg@4", "fraction", "higher", "right answers among 4"))
    distance = Metric("frechet_infinity[made]", "squared distance", "lower", "at N = inf", OWN)
    cells = list(loads())
    for model, right, spent, shift in (("teacher", 0.8, 300, 0.1), ("good", 0.7, 200, 0.2)):
        cells.append(
            MadeCell("sampled/sums", "sampled", sampled, answers(model, right, spent), model=model)
        )
        cells.append(
            MadeCell(
                "reasoning/stories", "reasoning", [ACC], stories(model, spent // 20), model=model
            )
        )
        own, summary = extrapolated(shift)
        cells.append(
            MadeCell("images/made", "images", [distance], own, model=model, summary=summary)
        )
    publish_cells(root / "results" / "made", cells, students=["good"])
    build_site(root / "site", root / "results")
    return root


def test_the_bars_of_answer_lengths_count_every_answer(card: Card, made: Path) -> None:
    folder, task = made / "results" / "made", "reasoning/stories"
    found = card("made", "good", "lengths", root=made)
    bars = traces(found)
    assert axes(found) == ("tokens of an answer", "answers")
    for role, model in (("teacher", "teacher"), ("student", "good")):
        stored = [s.extra["tokens"] for s in samples(folder, task, model)]
        counted = dict(zip(bars[role]["x"], bars[role]["y"], strict=True))
        assert counted == {length: stored.count(length) for length in set(stored)}
        (line,) = [cells for cells in table_of(found) if cells[0] == role]
        assert numbers(line[1])[0] == pytest.approx(np.mean(stored), abs=6e-4)


def test_what_answers_cost_stands_beside_how_often_they_are_right(card: Card, made: Path) -> None:
    folder = made / "results" / "made"
    found = card("made", "good", "spending", root=made)
    for line, role in zip(table_of(found)[1:], ROLES, strict=True):
        assert line[0] == role and line[-1] == "40"
        assert shown(line[1], row(folder, "good", "sampled/sums", "avg@4", role))
        assert shown(line[2], row(folder, "good", "sampled/sums", "tokens", role))
    equal = [
        (one.scores["tokens"], other.scores["tokens"])
        for one, other in zip(
            *(samples(folder, "sampled/sums", name) for name in ("teacher", "good")), strict=True
        )
        if one.scores["avg@4"] == other.scores["avg@4"] > 0
    ]
    ratio = sum(b for _, b in equal) / sum(a for a, _ in equal)
    expect(found).to_contain_text(f"On the {len(equal)} problems")
    expect(found).to_contain_text(f"spends {ratio:.3f} [")


def test_servers_under_load_are_drawn_by_what_they_answered(card: Card, made: Path) -> None:
    folder = made / "results" / "made"
    found = card("made", "good", "serving-load", root=made)
    points = traces(found)
    assert axes(found) == ("answered requests per second", "time to the first token (ms)")
    for role in ROLES:
        for kind, loads in (("closed", ["c1", "c8"]), ("open", ["r4"])):
            tasks = [f"efficiency/serving/{load}-p32-n16" for load in loads]
            rates = [row(folder, "good", task, f"requests_per_second.{role}") for task in tasks]
            firsts = [row(folder, "good", task, f"ttft.{role}") for task in tasks]
            drawn = points[f"{role}, {kind}"]
            assert drawn["x"] == pytest.approx([rate.value for rate in rates])
            assert drawn["y"] == pytest.approx([1e3 * first.value for first in firsts])
    assert [line[0] for line in table_of(found)[1::2]] == [
        "closed, 1 client", "closed, 8 clients", "open, 4/s",
    ]  # fmt: skip


def test_the_line_in_one_over_n_meets_the_axis_at_the_tables_number(card: Card, made: Path) -> None:
    folder = made / "results" / "made"
    found = card("made", "good", "infinity", root=made)
    lines = _all_traces(found)
    for role, (points, line) in zip(ROLES, (lines[:2], lines[2:]), strict=True):
        known = row(folder, "good", "images/made", "frechet_infinity[made]", role)
        assert (line["x"][0], line["y"][0]) == (0, pytest.approx(known.value))
        assert points["x"][-1] == pytest.approx(1 / 1000)
        (cells,) = [cells for cells in table_of(found) if cells[0] == role]
        assert shown(cells[1], known)
    assert axes(found)[0] == "1 / number of images"


# ---- all of them


@pytest.mark.parametrize(
    ("suite", "pair"), [("quickstart", "forward-kl"), ("quickstart-images", "progressive")]
)
def test_all_panels_fit_a_phone_and_axe_finds_nothing_serious_in_them(
    card: Card,
    kept: tuple[Page, list[str]],
    suite: str,
    pair: str,
    axe: Callable[[Page], None],
    no_sideways_scroll: Callable[[Page], None],
) -> None:
    page, _ = kept
    page.set_viewport_size({"width": 360, "height": 900})
    first = "reliability" if suite == "quickstart" else "quality"
    card(suite, pair, first)
    panels = page.locator(".panel").all()
    for panel in panels:
        panel.scroll_into_view_if_needed()
        expect(panel).to_have_attribute("data-drawn", "true", timeout=20_000)
        assert panel.locator(".notice").count() == 0
    assert len(panels) >= 6
    no_sideways_scroll(page)
    axe(page)
