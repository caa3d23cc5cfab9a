"""GenEval's task from images to scores with trained weights: EfficientDet-Lite2 on real photographs.

It draws boxes only and is less sure than Mask2Former, so it is a detector under its own protocol id: what is
tested is the way of its detections through the task, not GenEval's numbers.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import published
import pytest
from PIL import Image
from skimage import data

from kdbench.models.detectors import choice
from kdbench.models.detectors.detector import Found, self_test
from kdbench.models.images import ImageRequest
from kdbench.results.sample import Sample
from kdbench.tasks.geneval import Geneval, GenevalParams, rejudged
from kdbench.tasks.task import Context

pytestmark = pytest.mark.weights

RENAMED = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}


class EfficientDet:
    """Boxes (y1, x1, y2, x2) in shares of the image, classes and scores, as TensorFlow Lite gives them."""

    name, certain = "EfficientDet-Lite2", 0.7

    def __init__(self, file: Path) -> None:
        interpreter = pytest.importorskip("ai_edge_litert.interpreter")
        self.network: Any = interpreter.Interpreter(str(file), num_threads=1)
        self.network.allocate_tensors()
        with zipfile.ZipFile(file) as attached:
            self.labels = attached.read("labelmap.txt").decode().splitlines()

    def protocol(self) -> dict[str, str]:
        return {"detector": self.name, "detector scores": "boxes only"}

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Found]]:
        return [self._found(image) for image in images]

    def _found(self, image: np.ndarray) -> list[Found]:
        (asked,) = self.network.get_input_details()
        side = int(asked["shape"][1])
        small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
        self.network.set_tensor(asked["index"], np.asarray(small)[None])
        self.network.invoke()
        boxes, classes, scores = (
            self.network.get_tensor(one["index"])[0]
            for one in self.network.get_output_details()[:3]
        )
        height, width = image.shape[:2]
        found = []
        for (y1, x1, y2, x2), label, score in zip(boxes, classes, scores, strict=True):
            name = self.labels[int(label)]
            box = (float(x1 * width), float(y1 * height), float(x2 * width), float(y2 * height))
            found.append(Found(RENAMED.get(name, name), float(score), box))
        return found


def wanted(tag: str, *include: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tag": tag, "include": list(include), **more}


CAT, BIKE = {"class": "cat", "count": 1}, {"class": "motorcycle", "count": 1}
SIDE_BY_SIDE = "a cat left of a motorcycle"
LINES = [
    {**wanted("single_object", CAT), "prompt": "a photo of a cat"},
    {**wanted("two_object", {"class": "cup", "count": 1}, {"class": "dining table", "count": 1}),
     "prompt": "a photo of a cup and a dining table"},
    {**wanted("single_object", {"class": "dog", "count": 1}), "prompt": "no dog"},
    {**wanted("counting", CAT, exclude=[{"class": "cat", "count": 2}]), "prompt": "one cat"},
    {**wanted("position", BIKE, {**CAT, "position": ["left of", 0]}), "prompt": SIDE_BY_SIDE},
    {**wanted("position", BIKE, {**CAT, "position": ["right of", 0]}), "prompt": "the reverse"},
]  # fmt: skip


def photographs() -> dict[str, np.ndarray]:
    cat, bike = data.chelsea(), data.stereo_motorcycle()[0]
    small = np.asarray(Image.fromarray(bike).resize((445, 300), Image.Resampling.BICUBIC))
    both = np.concatenate([cat, small], axis=1)
    return {
        "a photo of a cat": cat, "a photo of a cup and a dining table": data.coffee(),
        "no dog": cat, "one cat": cat, SIDE_BY_SIDE: both, "the reverse": both,
    }  # fmt: skip


class Album:
    steps = None

    def generate_images(self, requests: Sequence[ImageRequest]) -> list[np.ndarray]:
        found = photographs()
        return [found[request.prompt] for request in requests]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("geneval")
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    task = Geneval(GenevalParams(prompts="prompts.jsonl", images_per_prompt=1), folder)
    detector = EfficientDet(published.efficientdet())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "load", lambda name, device: detector)
        return task.measure(Album(), task.items(None), Context(0))


def test_it_passes_the_self_test_with_trained_weights_only() -> None:
    self_test(EfficientDet(published.efficientdet()))


def test_real_photographs_are_judged_as_a_person_would(samples: list[Sample]) -> None:
    right = {sample.prompt: sample.scores["images"] for sample in samples}
    assert right == {
        "a photo of a cat": 1.0,
        "a photo of a cup and a dining table": 1.0,
        "no dog": 0.0,
        "one cat": 0.0,  # this detector is never 0.9 sure
        SIDE_BY_SIDE: 1.0,
        "the reverse": 0.0,
    }


def test_counting_is_judged_anew_at_a_threshold_that_suits_the_detector(
    samples: list[Sample],
) -> None:
    from kdbench.metrics.geneval import Rules

    (one_cat,) = [
        s for s in rejudged(samples, Rules(counting_threshold=0.5)) if s.prompt == "one cat"
    ]
    assert one_cat.scores["counting"] == 1.0 and one_cat.output == "right"
