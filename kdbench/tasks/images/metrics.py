"""Metrics of a set of images by their names: what each needs, and the fewest images that can bear it.

`fid[legacy_pytorch]` is a score with the encoder that makes its dialect; without brackets the first that
the score allows is meant. Judges of image and prompt go by their own names (`clipscore-hessel-b32`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdbench.errors import TaskError, did_you_mean
from kdbench.models.encoders.catalogue import INCEPTIONS
from kdbench.models.judges import JUDGES, JudgeSpec
from kdbench.tasks.aggregate import OWN as WHOLE
from kdbench.tasks.task import Metric

_NAME = re.compile(r"([\w.-]+)(?:\[([\w.-]+)\])?\Z")


@dataclass(frozen=True, slots=True)
class ScoreKind:
    """One way to score features, which may give several metrics.

    `fewest` is the least number of images; below it the score is refused. `encoder` is the one that is
    meant where none is named (empty: it must be). `per_sample` scores look at the images of one prompt.
    """

    name: str
    metrics: tuple[Metric, ...]
    fewest: int = 2
    encoder: str = ""
    only: frozenset[str] = frozenset()
    reference: bool = True
    per_sample: bool = False


def _of_set(name: str, unit: str, better: str, about: str) -> Metric:
    return Metric(name, unit, better, about, WHOLE)  # type: ignore[arg-type]


def _frechet(name: str, encoder: str, only: frozenset[str]) -> ScoreKind:
    about = "Frechet distance of Gaussians fitted to generated and real images' features"
    return ScoreKind(name, (_of_set(name, "squared distance", "lower", about),), 50, encoder, only)


def _infinity(name: str, encoder: str, only: frozenset[str]) -> ScoreKind:
    about = "the Frechet distance extrapolated to infinitely many images"
    return ScoreKind(name, (_of_set(name, "squared distance", "lower", about),), 500, encoder, only)


def _kernel(name: str, encoder: str, only: frozenset[str]) -> ScoreKind:
    about = "squared maximum mean discrepancy, cubic kernel, all pairs"
    return ScoreKind(name, (_of_set(name, "MMD^2", "lower", about),), 50, encoder, only)


def _subsets(name: str) -> ScoreKind:
    about = "mean over 100 subsets of 1000, as the field's tools print it"
    metric = _of_set(name, "MMD^2", "lower", about)
    return ScoreKind(name, (metric,), 1000, "clean", INCEPTIONS)


KINDS: Mapping[str, ScoreKind] = {
    kind.name: kind
    for kind in (
        _frechet("fid", "clean", INCEPTIONS),
        _infinity("fid_infinity", "clean", INCEPTIONS),
        _kernel("kid", "clean", INCEPTIONS),
        _subsets("kid_100x1000"),
        _frechet("frechet", "", frozenset()),
        _infinity("frechet_infinity", "", frozenset()),
        _kernel("kernel", "", frozenset()),
        ScoreKind(
            "prdc",
            (
                _of_set("precision", "fraction", "higher", "generated images inside real balls, k = 5"),
                _of_set("recall", "fraction", "higher", "real images inside generated balls, k = 5"),
                _of_set("density", "ratio", "higher", "real balls around a generated image, over k = 5"),
                _of_set("coverage", "fraction", "higher", "real balls with a generated image in them, k = 5"),
            ),
            50, "clean",
        ),
        ScoreKind(
            "precision_recall",
            (
                _of_set("precision_k3", "fraction", "higher", "as Kynkaanniemi et al., k = 3, closed balls"),
                _of_set("recall_k3", "fraction", "higher", "as Kynkaanniemi et al., k = 3, closed balls"),
            ),
            50, "clean",
        ),
        ScoreKind(
            "cmmd", (_of_set("cmmd", "1000 MMD^2", "lower", "CLIP embeddings, Gaussian kernel of width 10"),),
            50, "clip-l14-336", frozenset({"clip-l14-336"}),
        ),
        ScoreKind(
            "vendi", (_of_set("vendi", "images", "higher", "different images that the set amounts to"),),
            50, "clean", reference=False,
        ),
        ScoreKind(
            "vendi_per_prompt",
            (Metric("vendi_per_prompt", "images", "higher", "different images among those of a prompt"),),
            2, "clean", reference=False, per_sample=True,
        ),
        ScoreKind(
            "distance_per_prompt",
            (Metric("distance_per_prompt", "cosine distance", "higher", "between two images of a prompt"),),
            2, "clean", reference=False, per_sample=True,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A score with its encoder, as a suite asks for it."""

    kind: ScoreKind
    encoder: str

    @property
    def metrics(self) -> list[Metric]:
        """Its metrics, the encoder in brackets where it is not the usual one."""
        usual = self.encoder == self.kind.encoder
        return [
            metric if usual else Metric(
                f"{metric.name}[{self.encoder}]", metric.unit, metric.better, metric.about,
                metric.aggregation,
            )
            for metric in self.kind.metrics
        ]  # fmt: skip


def parsed(names: Sequence[str], usual: str | None) -> tuple[list[Asked], list[JudgeSpec]]:
    """Scores and judges by their names; `usual` is the encoder of the suite's own, where it has one.

    Raises `TaskError` for names that are unknown, doubled or have no encoder.
    """
    scores: list[Asked] = []
    judges: list[JudgeSpec] = []
    for text in names:
        if text in JUDGES:
            judges.append(JUDGES[text])
            continue
        match = _NAME.match(text)
        kind = KINDS.get(match[1]) if match else None
        if match is None or kind is None:
            known = [*KINDS, *JUDGES]
            raise TaskError(
                f"no image metric named {text!r}{did_you_mean(text, known)}; known are {', '.join(known)}"
            )
        name = match[2] or (usual if usual and not kind.only else None) or kind.encoder
        if not name:
            raise TaskError(f"{text!r} needs an encoder in brackets, such as {text}[dinov2]")
        if kind.only and name not in kind.only:
            other = {"fid": "frechet", "fid_infinity": "frechet_infinity", "kid": "kernel"}
            more = (
                f"; with other features it is called {other[kind.name]}"
                if kind.name in other
                else ""
            )
            raise TaskError(
                f"{text!r}: {kind.name} has features of {', '.join(sorted(kind.only))}{more}"
            )
        scores.append(Asked(kind, name))
    emitted = [metric.name for one in scores for metric in one.metrics] + [j.name for j in judges]
    if doubled := [name for name in emitted if emitted.count(name) > 1]:
        raise TaskError(f"the metric {doubled[0]!r} is asked for twice")
    return scores, judges
