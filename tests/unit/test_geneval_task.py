"""GenEval as a task: prompts, images, detections kept in samples, tags that count alike."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdbench import stats
from kdbench.errors import ModelError, TaskError
from kdbench.metrics.geneval import COLOURS, TAGS, Rules, overall
from kdbench.models.detectors import choice
from kdbench.models.detectors.coco import CLASSES
from kdbench.models.detectors.detector import Found
from kdbench.models.images import ImageRequest
from kdbench.models.judges.colours import GREY, ColourJudge, cut_out
from kdbench.models.resizing import DIALECTS, Resize
from kdbench.results.sample import Sample
from kdbench.tasks.aggregate import aggregate
from kdbench.tasks.compare import against_teacher, join
from kdbench.tasks.geneval import Geneval, GenevalParams, rejudged
from kdbench.tasks.geneval_prompts import read_prompts
from kdbench.tasks.task import Context

SHARED = Path(os.environ.get("KDBENCH_SHARED_DATA") or "nowhere") / "geneval"
LINES = [
    {"tag": "single_object", "include": [{"class": "cat", "count": 1}], "prompt": "a photo of a cat"},
    {"tag": "counting", "include": [{"class": "cat", "count": 2}],
     "exclude": [{"class": "cat", "count": 3}], "prompt": "a photo of two cats"},
    {"tag": "colors", "include": [{"class": "cat", "count": 1, "color": "red"}],
     "prompt": "a photo of a red cat"},
    {"tag": "position", "include": [{"class": "dog", "count": 1},
     {"class": "cat", "count": 1, "position": ["left of", 0]}],
     "prompt": "a photo of a cat left of a dog"},
]  # fmt: skip
CAT = (10.0, 10.0, 30.0, 30.0)
DOG = (60.0, 10.0, 80.0, 30.0)


def mask(box: Sequence[float]) -> np.ndarray:
    found = np.zeros((64, 96), dtype=bool)
    x1, y1, x2, y2 = (int(side) for side in box)
    found[y1:y2, x1:x2] = True
    return found


class Painter:
    """Paints a red cat and a blue dog as squares, and remembers what it was asked."""

    steps: int | None = 2

    def __init__(self) -> None:
        self.asked: list[ImageRequest] = []

    def generate_images(self, requests: Sequence[ImageRequest]) -> list[np.ndarray]:
        self.asked += requests
        image = np.full((64, 96, 3), 255, np.uint8)
        image[mask(CAT)] = (255, 0, 0)
        image[mask(DOG)] = (0, 0, 255)
        return [image.copy() for _ in requests]


class Squares:
    """A detector that knows where the painter paints."""

    name, certain = "squares", 0.9

    def protocol(self) -> dict[str, str]:
        return {"detector": self.name}

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Found]]:
        if images[0].shape == (300, 451, 3):  # the self-test's photograph
            return [[Found("cat", 0.97, (100, 20, 400, 290))]]
        seen = [
            Found("cat", 0.95, CAT, mask(CAT)), Found("dog", 0.6, DOG, mask(DOG)),
            Found("cat", 0.2, DOG, mask(DOG)), Found("bench", 0.2, DOG), Found("car", 0.01, DOG),
        ]  # fmt: skip
        return [seen for _ in images]


class MeanColour:
    """Sees an image as its mean colour, and a sentence as the colour that it names."""

    resize: Resize = DIALECTS["clip"]

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3)) / 255 + 1e-3

    def encode_text(self, prompts: Sequence[str]) -> torch.Tensor:
        named = {"red": (1.0, 0, 0), "blue": (0, 0, 1.0), "green": (0, 1.0, 0)}
        grey = (0.1, 0.1, 0.1)
        found = [
            next((rgb for word, rgb in named.items() if word in prompt), grey) for prompt in prompts
        ]
        return torch.tensor(found)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Geneval]:
    """A task on `LINES` whose detector and colours need no weights."""
    monkeypatch.setattr(choice, "load", lambda name, device: Squares())

    def build(lines: Sequence[Any] = LINES, **params: Any) -> Geneval:
        text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
        (tmp_path / "prompts.jsonl").write_text(text)
        asked = GenevalParams.model_validate({"prompts": "prompts.jsonl", **params})
        task = Geneval(asked, tmp_path)
        task.__dict__["colours"] = ColourJudge(MeanColour())
        return task

    return build


def measured(task: Geneval, limit: int | None = None) -> list[Sample]:
    return task.measure(Painter(), task.items(limit), Context(7))


def test_every_prompt_is_painted_four_times_each_from_its_own_seed(
    make: Callable[..., Geneval],
) -> None:
    task, painter = make(), Painter()
    samples = task.measure(painter, task.items(None), Context(7))
    assert [request.prompt for request in painter.asked[::4]] == [line["prompt"] for line in LINES]
    assert [request.number for request in painter.asked] == [0, 1, 2, 3] * 4
    assert len({request.seed for request in painter.asked}) == 16
    assert [sample.extra["seed"] for sample in samples] == [r.seed for r in painter.asked]
    assert {sample.extra["steps"] for sample in samples} == {2}
    assert len({sample.cluster for sample in samples}) == 4
    alone = task.measure(Painter(), task.items(None)[5:6], Context(7))
    assert alone == samples[5:6]


def test_verdicts_follow_the_rules(make: Callable[..., Geneval]) -> None:
    samples = measured(make())
    right = {sample.tags["tag"]: sample.scores["images"] for sample in samples}
    assert right == {"single_object": 1.0, "counting": 0.0, "colors": 1.0, "position": 1.0}
    assert samples[4].output == "2 cat expected, 1 seen"
    assert samples[8].scores == {
        "overall": ["colors", 1.0],
        "colors": 1.0,
        "images": 1.0,
        "prompts": 1.0,
    }


def test_detections_are_kept_and_judged_anew_under_other_thresholds(
    make: Callable[..., Geneval],
) -> None:
    samples = measured(make())
    kept = samples[4].extra["detections"]
    assert [(row[0], row[1]) for row in kept] == [("cat", 0.95), ("cat", 0.2), ("dog", 0.6)]
    assert samples[8].extra["detections"][0][6] == "red" and samples[8].extra["size"] == [96, 64]
    assert rejudged(samples) == samples
    loose = rejudged(samples, Rules(counting_threshold=0.1))
    assert [sample.scores["images"] for sample in loose[4:8]] == [1.0] * 4
    strict = rejudged(samples, Rules(threshold=0.7))
    assert strict[12].scores["position"] == 0.0 and "1 dog expected" in strict[12].output
    through_disk = [Sample.from_json(json.loads(json.dumps(one.to_json()))) for one in samples]
    assert rejudged(through_disk) == samples


def test_the_score_is_the_mean_of_tags_with_an_interval_over_prompts(
    make: Callable[..., Geneval],
) -> None:
    samples = measured(make())
    by_name = {
        metric.name: aggregate(
            metric.aggregation,
            [s.scores[metric.name] for s in samples if metric.name in s.scores],
            [s.cluster for s in samples if metric.name in s.scores],
        )
        for metric in make().metrics()
        if any(metric.name in sample.scores for sample in samples)
    }
    assert by_name["overall"].value == 0.75 and by_name["images"].value == 0.75
    assert by_name["prompts"].value == 0.75 and by_name["prompts"].n_clusters == 4
    assert by_name["counting"].value == 0.0 and by_name["counting"].n == 4


def test_a_sharp_retention_and_gap_of_the_overall_score_come_with_the_pair() -> None:
    def sample(prompt: int, number: int, right: float) -> Sample:
        tag = TAGS[prompt % 2]
        cluster = f"p{prompt}"
        return Sample(f"{cluster}/{number}", prompt, cluster, {"overall": [tag, right]})

    random = np.random.default_rng(3)
    teacher = [sample(p, n, float(random.random() < 0.8)) for p in range(40) for n in range(4)]
    student = [
        sample(
            int(s.cluster[1:]), int(s.id[-1]), s.scores["overall"][1] * float(random.random() < 0.9)
        )
        for s in teacher
    ]
    (overall_metric,) = [m for m in Geneval.known_metrics() if m.name == "overall"]
    gap, kept = against_teacher(overall_metric, join(teacher, student), 0.95)
    assert gap.metric == "overall.gap" and kept.metric == "overall.retention"
    assert gap.estimate and kept.estimate and gap.estimate.n_clusters == 40

    def score(samples: list[Sample]) -> float:
        by_tag = {
            tag: np.mean([s.scores["overall"][1] for s in samples if s.scores["overall"][0] == tag])
            for tag in TAGS[:2]
        }
        return overall({tag: float(value) for tag, value in by_tag.items()})

    assert gap.estimate.value == pytest.approx(score(student) - score(teacher))
    assert kept.estimate.value == pytest.approx(score(student) / score(teacher))
    assert gap.estimate.low < gap.estimate.value < gap.estimate.high < 0
    assert "paired" in gap.estimate.method and "linearised" in kept.estimate.method


def test_a_mask_is_set_on_grey_and_cropped_to_its_box() -> None:
    image = np.full((64, 96, 3), 255, np.uint8)
    half = mask((10, 10, 20, 30))
    crop = cut_out(image, Found("cat", 0.9, CAT, half))
    assert crop.shape == (20, 20, 3)
    assert (crop[:, :10] == 255).all() and (crop[:, 10:] == GREY).all()
    bare = cut_out(image, Found("cat", 0.9, (90.4, 60.6, 120.0, 61.2)))
    assert bare.shape == (1, 6, 3) and (bare == 255).all()


def test_colours_are_read_from_the_object_alone() -> None:
    judge = ColourJudge(MeanColour())
    (image,) = Painter().generate_images([ImageRequest("", None, 0)])
    found = [Found("cat", 0.9, CAT, mask(CAT)), Found("dog", 0.9, DOG, mask(DOG))]
    assert judge.colours(image, found) == ["red", "blue"] and judge.colours(image, []) == []
    assert {"red", "blue"} <= set(COLOURS)


def test_a_detector_that_fails_its_self_test_fails_the_cell_before_a_verdict(
    make: Callable[..., Geneval], monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = Squares()
    monkeypatch.setattr(blind, "detect", lambda images: [[] for _ in images])
    monkeypatch.setattr(choice, "load", lambda name, device: blind)
    with pytest.raises(ModelError, match="squares fails its self-test"):
        measured(make())


def test_a_generator_that_returns_too_few_images_is_told(make: Callable[..., Geneval]) -> None:
    task = make()

    class Lazy(Painter):
        def generate_images(self, requests: Sequence[ImageRequest]) -> list[np.ndarray]:
            return super().generate_images(requests)[:-1]

    with pytest.raises(ModelError, match=r"images/geneval: 16 images were asked for, 15 came back"):
        task.measure(Lazy(), task.items(None), Context(7))


CAT_LINE = LINES[0]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", r"prompts\.jsonl:2: not JSON"),
        ("[]", r"prompts\.jsonl:2: "),
        ({**CAT_LINE, "tag": "singel_object"}, r":2: tag .*did you mean 'single_object'"),
        ({"tag": "counting", "prompt": "x"}, r":2: 'include' is missing"),
        ({**CAT_LINE, "include": []}, r":2: include is empty"),
        ({**CAT_LINE, "prompt": " "}, r":2: prompt is empty"),
        ({**CAT_LINE, "include": [{"class": "kat", "count": 1}]}, r":2: class 'kat'.*'cat'"),
        ({**CAT_LINE, "include": [{"class": "cat", "count": 0}]}, r":2: count 0 is no positive"),
        ({**CAT_LINE, "include": [{"class": "cat"}]}, r":2: 'count' is missing"),
        (
            {**CAT_LINE, "include": [{"class": "cat", "count": 1, "color": "rot"}]},
            r":2: color 'rot' is not known",
        ),
        (
            {**CAT_LINE, "include": [{"class": "cat", "count": 1, "position": ["above", 0]}]},
            r":2: position names the clause 0, but only earlier",
        ),
    ],
)
def test_a_malformed_line_is_named(make: Callable[..., Geneval], line: Any, told: str) -> None:
    with pytest.raises(TaskError, match=told):
        make([CAT_LINE, line]).items(None)


def test_rewritten_prompts_are_declared_and_must_be_as_many(
    make: Callable[..., Geneval], tmp_path: Path
) -> None:
    (tmp_path / "own.txt").write_text("\n".join(f"rewritten {index}" for index in range(4)))
    task = make(rewritten="own.txt")
    assert task.items(None)[0].payload[0].text == "rewritten 0"
    assert task.protocol()["prompts"] == "rewritten" != make().protocol()["prompts"]
    assert task.data_fingerprint() != make().data_fingerprint()
    (tmp_path / "own.txt").write_text("only one")
    with pytest.raises(TaskError, match=r"own\.txt: 1 lines for the 4 prompts"):
        task.items(None)


def test_everything_that_is_missing_is_named_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("KDBENCH_WEIGHTS", raising=False)
    task = Geneval(GenevalParams(), tmp_path)
    asked = [item.what for item in task.downloads()]
    assert [what.split()[1].rstrip(",") for what in asked] == [
        "geneval-prompts", "mask2former-swin-s-mmdet", "clip-vit-large-patch14",
    ]  # fmt: skip
    with pytest.raises(TaskError, match="weights fetch geneval-prompts"):
        task.data_fingerprint()
    assert "743b7d99" in task.protocol()["detector weights"]
    with pytest.raises(ModelError, match="weights mask2former-swin-s-mmdet are not here"):
        _ = task.detector
    other = Geneval(GenevalParams(detector="facebook"), tmp_path)
    assert other.protocol()["detector"] != task.protocol()["detector"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="KDBENCH_SHARED_DATA holds no geneval")
def test_the_published_prompts_are_553_of_six_tags() -> None:
    prompts = read_prompts(SHARED / "evaluation_metadata.jsonl")
    tags = [prompt.requirement.tag for prompt in prompts]
    assert [tags.count(tag) for tag in TAGS] == [80, 99, 80, 94, 100, 100]
    names = (SHARED / "object_names.txt").read_text().split("\n")
    assert tuple(name for name in names if name) == CLASSES
    texts = (SHARED / "generation_prompts.txt").read_text().splitlines()
    assert [prompt.text for prompt in prompts] == texts
    counting = next(one for one in prompts if one.requirement.tag == "counting").requirement
    assert counting.exclude[0].count == counting.include[0].count + 1


def test_strata_count_alike_and_their_variances_add() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(0, 1, 40), random.normal(10, 3, 400)])
    strata = ["a"] * 40 + ["b"] * 400
    found = stats.mean_of_strata(values, strata)
    assert found.value == pytest.approx((values[:40].mean() + values[40:].mean()) / 2)
    parts = [values[:40].var(ddof=1) / 40, values[40:].var(ddof=1) / 400]
    error = np.sqrt(sum(parts)) / 2
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.03)
    same = stats.mean_of_strata(
        np.repeat(values, 4), np.repeat(strata, 4).tolist(), np.repeat(range(440), 4)
    )
    assert (same.low, same.high) == pytest.approx((found.low, found.high))
    assert same.n_clusters == 440 and "clustered" in same.method
    with pytest.raises(ValueError, match="lies in two strata"):
        stats.mean_of_strata([1.0, 2.0], ["a", "b"], ["x", "x"])
    assert np.isnan(stats.mean_of_strata([1.0, 1.0], ["a", "b"]).low)


def test_the_interval_of_a_mean_of_tags_covers() -> None:
    """95 % intervals of clustered, unequal tags hold the truth in about 95 % of draws."""
    random = np.random.default_rng(1)
    rates, sizes = np.array([0.9, 0.4, 0.6]), np.array([20, 30, 40])
    strata = np.repeat(np.repeat(["a", "b", "c"], sizes), 4)
    clusters = np.repeat(np.arange(sizes.sum()), 4)
    inside = 0
    for _ in range(300):
        prompts = random.beta(2 * np.repeat(rates, sizes), 2 * (1 - np.repeat(rates, sizes)))
        values = (random.random((sizes.sum(), 4)) < prompts[:, None]).astype(float).ravel()
        found = stats.mean_of_strata(values, strata.tolist(), clusters)
        inside += found.low <= rates.mean() <= found.high
    assert 0.91 <= inside / 300 <= 0.985
