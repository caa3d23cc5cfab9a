"""The task `equal_noise`: does the student draw what its teacher draws from the same noise?

Both are asked the same prompts with the same seeds. What the teacher draws is a cell of its own
(`equal_noise.images`), so a teacher of many steps is asked once for all its students. A few hundred prompts
suffice: distances are means over images, unlike those of whole sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdbench.models import weights
from kdbench.models.adapter import Download
from kdbench.models.encoders.catalogue import OWN, EncoderSpec, encoder_spec
from kdbench.models.protocols import GENERATE_IMAGES
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.images import gallery
from kdbench.tasks.images.conditions import ConditionParams, Conditions, described
from kdbench.tasks.images.drawn import DrawnImages, drawn
from kdbench.tasks.task import Context, Item, Metric, PairTask

if TYPE_CHECKING:
    from kdbench.models.images import Image
    from kdbench.tasks.images.one_pass import OnePass
    from kdbench.tasks.panel import Panel

LPIPS = "torchvision-alexnet"
MOST_DB = 100.0
"""PSNR of equal images, which has no upper end, counts as this."""


class EqualNoiseParams(ConditionParams):
    """The conditions, and the networks that distances are told by."""

    features: list[str] = Field(
        default_factory=list,
        description="encoders whose features are compared (clean, dinov2, ...)",
    )
    encoder: str | None = Field(
        None, description="folder of an image classifier whose features are compared"
    )
    lpips: bool = Field(False, description="LPIPS (AlexNet), which needs its published weights")
    gallery: int = Field(
        16, ge=0, description="prompts whose images are kept, for the contact sheet"
    )


@task("equal_noise")
class EqualNoise(PairTask):
    """The student draws, and is held against what its teacher has drawn; the teacher is not loaded."""

    version = 1
    needs_teacher = False
    about = (
        "distance of a student's images from its teacher's at equal noise: PSNR, features, LPIPS"
    )
    source = "kdbench; LPIPS by Zhang et al. 2018"
    Params = EqualNoiseParams
    params: EqualNoiseParams

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return [_PSNR, _SAME, _cosine(OWN), _LPIPS]

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import EQUAL_NOISE

        return EQUAL_NOISE

    @property
    def label(self) -> str:
        self._encoders  # noqa: B018 - refuses unknown encoders while the suite is read
        return f"equal_noise/{self.params.set_name}"

    def identity(self) -> dict[str, Any]:
        return self.params.model_dump(
            mode="json", exclude={"name", "prompts", "prompts_from", "encoder"}
        )

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_IMAGES})

    def basis(self) -> DrawnImages:
        own = {name: getattr(self.params, name) for name in ConditionParams.model_fields}
        return DrawnImages(ConditionParams(**own), self.folder)

    def metrics(self) -> list[Metric]:
        found = [_PSNR, _SAME, *map(_cosine, self._encoders)]
        return [*found, _LPIPS] if self.params.lpips else found

    def protocol(self) -> dict[str, str]:
        parts = self.conditions.protocol()
        parts["sizes"] = "the student's image resized to the teacher's where they differ (Lanczos)"
        for name, spec in self._encoders.items():
            parts[f"encoder[{name}]"] = spec.protocol()
        if self.params.lpips:
            parts["lpips"] = f"AlexNet 0.1 {weights.digest_of(LPIPS)[:12]}, 256"
        return {name: value.replace(";", ",") for name, value in parts.items()}

    def data_fingerprint(self) -> str:
        own = [spec.digest() for spec in self._encoders.values()]
        return sha256("\n".join([self.conditions.fingerprint(), *own]).encode()).hexdigest()

    def downloads(self) -> list[Download]:
        found = self.conditions.downloads()
        for spec in self._encoders.values():
            found += spec.downloads()
        return found + (weights.download(LPIPS) if self.params.lpips else [])

    def fetch(self) -> None:
        self.conditions.fetch()
        for spec in self._encoders.values():
            spec.fetch()
        if self.params.lpips:
            weights.fetch(LPIPS)

    def items(self, limit: int | None) -> list[Item]:
        return self.conditions.items(limit)

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        from kdbench.metrics.following import feature_cosine, psnr

        requests = self.conditions.requests(items, context)
        prompts = [request.prompt for request in requests]
        assert context.basis_artifacts is not None
        theirs = [
            image
            for item in items
            for image in drawn(context.basis_artifacts, context.basis[item.id])
        ]
        own = student.generate_images(requests)
        ours = [_fitted(image, other) for image, other in zip(own, theirs, strict=True)]
        columns: dict[str, list[float]] = {
            "psnr": [min(MOST_DB, psnr(t, s)) for t, s in zip(theirs, ours, strict=True)],
            "identical": [float((t == s).all()) for t, s in zip(theirs, ours, strict=True)],
        }
        one, other = self._look(theirs, prompts), self._look(ours, prompts)
        for name in self._look.encoders:
            first, second = one.features[name], other.features[name]
            if name == _LPIPS.name:
                columns[name] = [float(v) for v in ((first - second) ** 2).sum(axis=1)]
            else:
                columns[_cosine(name).name] = [float(v) for v in feature_cosine(first, second)]
        each = self.params.per_prompt
        return [
            self._sample(
                item, student.steps, {k: v[i * each : (i + 1) * each] for k, v in columns.items()},
                theirs[i * each : (i + 1) * each], own[i * each : (i + 1) * each],
            )
            for i, item in enumerate(items)
        ]  # fmt: skip

    @cached_property
    def conditions(self) -> Conditions:
        return Conditions(self.params, self.folder)

    @cached_property
    def _encoders(self) -> dict[str, EncoderSpec]:
        own = self.folder / self.params.encoder if self.params.encoder else None
        names = [*self.params.features, *([OWN] if own and OWN not in self.params.features else [])]
        return {name: encoder_spec(name, own if name == OWN else None) for name in names}

    @cached_property
    def _look(self) -> OnePass:
        from kdbench.models.loading import torch_device

        where = torch_device("auto")
        encoders: dict[str, Any] = {n: spec.load(where) for n, spec in self._encoders.items()}
        if self.params.lpips:
            from kdbench.models.encoders.lpips import LpipsEncoder

            encoders[_LPIPS.name] = LpipsEncoder(weights.path_of(LPIPS), device=where)
        from kdbench.tasks.images.one_pass import OnePass

        return OnePass(encoders, {}, where)

    def _sample(
        self,
        item: Item,
        steps: int | None,
        scores: dict[str, list[float]],
        theirs: Sequence[Image],
        ours: Sequence[Image],
    ) -> Sample:
        extra: dict[str, Any] = {} if steps is None else {"steps": steps}
        if item.index < self.params.gallery:
            extra["teacher"] = [gallery.thumbnail(image) for image in theirs]
            extra["student"] = [gallery.thumbnail(image) for image in ours]
            extra["asked"] = described(item)
        means = {name: sum(values) / len(values) for name, values in scores.items()}
        return Sample(item.id, item.index, item.cluster, means, prompt=described(item), extra=extra)


def _fitted(image: Image, other: Image) -> Image:
    """`image` in the size of `other`."""
    if image.shape == other.shape:
        return image
    import numpy as np
    from PIL import Image as Pictures

    size = (other.shape[1], other.shape[0])
    return np.asarray(Pictures.fromarray(image).resize(size, Pictures.Resampling.LANCZOS))


def _cosine(encoder: str) -> Metric:
    return Metric(
        f"feature_cosine[{encoder}]", "cosine", "higher", "of the features of both images"
    )


_PSNR = Metric("psnr", "dB", "higher", "peak signal-to-noise ratio of the student's image")
_SAME = Metric("identical", "fraction", "lower", "images that are the same to the last bit")
_LPIPS = Metric("lpips", "LPIPS", "lower", "learned perceptual distance of both images (AlexNet)")
