"""GenEval: does an image show the objects, counts, colours and places that its prompt names?

The rules are in `kdbench.metrics.geneval`, detector and colours in `kdbench.models`. Every sample keeps
what was detected, so verdicts under other thresholds need neither images nor a detector (`rejudged`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kdbench.errors import TaskError
from kdbench.metrics.geneval import GENEVAL, TAGS, Detection, Requirement, Rules, judge
from kdbench.models.adapter import Download
from kdbench.models.detectors import choice
from kdbench.models.protocols import GENERATE_IMAGES
from kdbench.models.weights import at_hand, digest_of, download, fetch, path_of
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.geneval_prompts import GenevalPrompt, read_prompts, requirement
from kdbench.tasks.task import Context, Item, Metric, ModelTask, TaskParams

if TYPE_CHECKING:
    from kdbench.models.detectors.detector import Detector, Found
    from kdbench.models.images import Image
    from kdbench.models.judges.colours import ColourJudge

PROMPTS = "geneval-prompts"
"""The published prompts' name in the manifest of weights."""

COLOUR_CLIP = "clip-vit-large-patch14"
LEAST = 0.05
"""Detections of the classes that a prompt names are kept from this score on."""


class GenevalParams(TaskParams):
    """All defaults are GenEval's."""

    prompts: str | None = Field(
        None, description="a file like evaluation_metadata.jsonl (default: the published one)"
    )
    rewritten: str | None = Field(
        None, description="a text file: the prompt to use instead of each, one a line"
    )
    images_per_prompt: int = Field(4, ge=1, description="images of each prompt")
    detector: Literal["mmdet", "facebook"] = Field(
        "mmdet", description="GenEval's own Mask2Former, converted, or that of its authors"
    )


@task("geneval")
class Geneval(ModelTask):
    """Images come from the model, each with a seed of its own."""

    version = 1
    about = "objects, counts, colours and positions in images, by GenEval's rules, without mmdet"
    source = "Ghosh et al. 2023, arXiv:2310.11513, and its reference implementation"
    Params = GenevalParams
    params: GenevalParams

    @property
    def label(self) -> str:
        return "images/geneval"

    def identity(self) -> dict[str, Any]:
        return self.params.model_dump(mode="json", exclude={"prompts", "rewritten"})

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_IMAGES})

    def metrics(self) -> list[Metric]:
        return [
            Metric(
                "overall", "fraction", "higher", "mean of the six tags' accuracies",
                "mean_of_strata",
            ),
            *(Metric(tag, "fraction", "higher", f"right images of the tag {tag}") for tag in TAGS),
            Metric("images", "fraction", "higher", "right images, whatever the tag"),
            Metric(
                "prompts", "fraction", "higher",
                f"prompts with a right image among {self.params.images_per_prompt}", "any_of_cluster",
            ),
        ]  # fmt: skip

    def protocol(self) -> dict[str, str]:
        rules = GENEVAL
        return {
            "prompts": "rewritten" if self.params.rewritten else "as they are",
            "images per prompt": f"{self.params.images_per_prompt}, each from a seed of its own",
            "rules": f"score > {rules.threshold}, counting > {rules.counting_threshold}, at most "
            f"{rules.most} of a class, position {rules.position}",
            **choice.protocol(self.params.detector),
            "colours": f"OpenAI CLIP ViT-L/14, QuickGELU, {digest_of(COLOUR_CLIP)[:12]}, on #999",
        }

    def data_fingerprint(self) -> str:
        files = [self._file, self._rewritten]
        try:
            parts = [file.read_bytes() if file else b"" for file in files]
        except OSError as error:
            raise TaskError(f"{error.filename}: can't be read ({error.strerror})") from error
        return sha256(b"\0".join(parts)).hexdigest()

    def downloads(self) -> list[Download]:
        own = [] if self.params.prompts else download(PROMPTS)
        return [*own, *choice.downloads(self.params.detector), *download(COLOUR_CLIP)]

    def fetch(self) -> None:
        if not self.params.prompts:
            fetch(PROMPTS)
        choice.get(self.params.detector)
        fetch(COLOUR_CLIP)

    def items(self, limit: int | None) -> list[Item]:
        found: list[Item] = []
        for prompt in read_prompts(self._file, self._rewritten):
            asked = json.dumps([prompt.text, prompt.line], sort_keys=True)
            cluster = sha256(asked.encode()).hexdigest()[:16]
            for number in range(self.params.images_per_prompt):
                found.append(Item(f"{cluster}/{number}", len(found), cluster, (prompt, number)))
                if len(found) == limit:
                    return found
        return found

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        from kdbench.models.images import ImageRequest, checked

        seeds = [context.sample_seed(item.id) for item in items]
        requests = [
            ImageRequest(item.payload[0].text, None, seed, item.payload[1])
            for item, seed in zip(items, seeds, strict=True)
        ]
        images = checked(model.generate_images(requests), requests, self.label)
        everything = self.detector.detect(images)
        known = {} if model.steps is None else {"steps": model.steps}
        return [
            self._sample(item, image, found, {"seed": seed, **known})
            for item, image, found, seed in zip(items, images, everything, seeds, strict=True)
        ]

    def _sample(
        self, item: Item, image: Image, found: Sequence[Found], made: dict[str, Any]
    ) -> Sample:
        prompt: GenevalPrompt = item.payload[0]
        detections = self._detections(prompt.requirement, image, found)
        extra = {
            "asked": dict(prompt.line),
            "detections": [
                [one.label, round(one.score, 6), *(round(side, 2) for side in one.box), one.colour]
                for one in detections
            ],
            "size": [image.shape[1], image.shape[0]],
            **made,
        }
        sample = Sample(
            item.id, item.index, item.cluster, {}, prompt.text, "",
            tags={"tag": prompt.requirement.tag}, extra=extra,
        )  # fmt: skip
        return rejudged([sample])[0]

    def _detections(
        self, asked: Requirement, image: Image, found: Sequence[Found]
    ) -> list[Detection]:
        """What is kept: of named classes from `LEAST` on, of others what GenEval would count.

        Only the best `count` of a class can ever be asked for their colour, under any threshold.
        """
        named = {wanted.label for wanted in (*asked.include, *asked.exclude)}
        coloured: dict[str, int] = {}
        for wanted in asked.include:
            if wanted.colour:
                coloured[wanted.label] = max(wanted.count, coloured.get(wanted.label, 0))
        groups: dict[str, list[Found]] = {}
        for one in sorted(found, key=lambda one: -one.score):
            own = groups.setdefault(one.label, [])
            least = LEAST if one.label in named else GENEVAL.threshold
            if one.score > least and len(own) < GENEVAL.most:
                own.append(one)
        detections = []
        for label, own in groups.items():
            best = own[: coloured.get(label, 0)]
            colours = self.colours.colours(image, best) if best else []
            for index, one in enumerate(own):
                colour = colours[index] if index < len(colours) else ""
                detections.append(Detection(label, one.score, one.box, colour))
        return detections

    @cached_property
    def detector(self) -> Detector:
        """Loaded once, after it has proved that it sees a cat."""
        from kdbench.models.detectors.detector import self_test

        detector = choice.load(self.params.detector, _device())
        self_test(detector)
        return detector

    @cached_property
    def colours(self) -> ColourJudge:
        """Loaded once, where the first prompt names a colour."""
        from kdbench.models.judges import colours

        return colours.load(_device())

    @property
    def _file(self) -> Path:
        if self.params.prompts:
            return self.folder / Path(self.params.prompts).expanduser()
        if not at_hand(PROMPTS):
            raise TaskError(
                f"GenEval's prompts are not here; `kdbench weights fetch {PROMPTS}` gets them, or "
                "`prompts` names a file like evaluation_metadata.jsonl"
            )
        return path_of(PROMPTS)

    @property
    def _rewritten(self) -> Path | None:
        chosen = self.params.rewritten
        return self.folder / Path(chosen).expanduser() if chosen else None


def rejudged(samples: Iterable[Sample], rules: Rules = GENEVAL) -> list[Sample]:
    """The samples with scores and reasons under `rules`, from the detections that they keep.

    Thresholds below 0.05 see nothing more than 0.05 does.
    """
    found = []
    for sample in samples:
        asked = requirement(sample.extra["asked"])
        detections = [
            Detection(label, score, (x1, y1, x2, y2), colour)
            for label, score, x1, y1, x2, y2, colour in sample.extra["detections"]
        ]
        verdict = judge(asked, detections, rules)
        right = float(verdict.correct)
        scores = {
            "overall": [asked.tag, right],
            asked.tag: right,
            "images": right,
            "prompts": right,
        }
        output = "right" if verdict.correct else "; ".join(verdict.reasons)
        found.append(replace(sample, scores=scores, output=output))
    return found


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
