"""The task `images`: one pass over a model's images gives every score that a suite asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdbench.errors import TaskError
from kdbench.models.adapter import Download
from kdbench.models.encoders.catalogue import OWN, EncoderSpec, encoder_spec
from kdbench.models.protocols import GENERATE_IMAGES
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.images import gallery
from kdbench.tasks.images.conditions import ConditionParams, Conditions, described, places_of
from kdbench.tasks.images.metrics import KINDS, Asked, parsed
from kdbench.tasks.images.references import References
from kdbench.tasks.task import Context, Item, Metric, ModelTask, Summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kdbench.models.images import Image
    from kdbench.models.judges import JudgeSpec
    from kdbench.models.reference import Reference
    from kdbench.tasks.images.one_pass import OnePass, Seen
    from kdbench.tasks.panel import Panel


class ImagesParams(ConditionParams):
    """What is asked of the models, and what their images are measured by."""

    metrics: list[str] = Field(
        ["fid"], min_length=1,
        description="scores, an encoder in brackets where it is not the usual one (fid, "
        "fid[legacy_pytorch], kid, prdc, cmmd, frechet[dinov2], ...), and judges by name",
    )  # fmt: skip
    reference: str | None = Field(
        None,
        description="real images: statistics (.npz, .pkl), a folder or a zip, or weights:NAME",
    )
    references: dict[str, str] = Field(
        default_factory=dict, description="encoder -> reference, where one file is not enough"
    )
    reference_from: str | None = Field(
        None, description="how to get the references if they are not there yet, for people"
    )
    encoder: str | None = Field(
        None, description="folder of an image classifier whose features are used instead"
    )
    gallery: int = Field(
        16, ge=0, description="prompts whose images are kept small, for the contact sheet"
    )
    spill: bool = Field(False, description="keep every image as a PNG beside the cell")


@task("images")
class Images(ModelTask):
    """Each image is made or decoded once, resized once for each dialect, and seen once by each network."""

    version = 2
    about = "generated images: Frechet and kernel distances, precision and recall, CMMD, CLIPScore, diversity"
    source = "kdbench; dialects of clean-fid, pytorch-fid, torch-fidelity, prdc, CMMD, CLIPScore"
    Params = ImagesParams
    params: ImagesParams

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        from kdbench.models.judges import JUDGES

        own = [metric for kind in KINDS.values() for metric in kind.metrics]
        return own + [_judged(spec) for spec in JUDGES.values()]

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import IMAGES

        return IMAGES

    @property
    def label(self) -> str:
        self._asked  # noqa: B018 - refuses unknown metrics while the suite is read
        return f"images/{self.params.set_name}"

    def identity(self) -> dict[str, Any]:
        paths = {
            "name",
            "prompts",
            "prompts_from",
            "reference",
            "references",
            "reference_from",
            "encoder",
        }
        return self.params.model_dump(mode="json", exclude=paths)

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_IMAGES})

    def metrics(self) -> list[Metric]:
        scores, judges = self._asked
        return [metric for one in scores for metric in one.metrics] + list(map(_judged, judges))

    def protocol(self) -> dict[str, str]:
        _, judges = self._asked
        parts = self.conditions.protocol()
        for name, spec in self._encoders.items():
            parts[f"encoder[{name}]"] = spec.protocol()
        for judge in judges:
            about = judge.protocol()
            kept = ("network", "weights", "resize", "text", "scale")
            parts[judge.name] = ", ".join(
                about[k][:12] if k == "weights" else about[k] for k in kept
            )
        if self.references.names():
            parts["reference"] = _brief(self._reference_digests)
        return {name: value.replace(";", ",") for name, value in parts.items()}

    def data_fingerprint(self) -> str:
        references = self.references.fingerprint() if self.references.names() else {}
        encoders = {name: spec.digest() for name, spec in self._encoders.items()}
        text = json.dumps([self.conditions.fingerprint(), references, encoders], sort_keys=True)
        return sha256(text.encode()).hexdigest()

    def downloads(self) -> list[Download]:
        _, judges = self._asked
        found = self.conditions.downloads() + self.references.downloads()
        for spec in self._encoders.values():
            found += spec.downloads()
        for judge in judges:
            found += judge.downloads()
        return found

    def fetch(self) -> None:
        self.conditions.fetch()
        self.references.fetch()
        for spec in self._encoders.values():
            spec.fetch()
        for judge in self._asked[1]:
            judge.fetch()

    def items(self, limit: int | None) -> list[Item]:
        return self.conditions.items(limit)

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        self._check_references()
        requests = self.conditions.requests(items, context)
        images = model.generate_images(requests)
        seen = self._look(images, [request.prompt for request in requests])
        if context.artifacts is not None:
            self._keep(context.artifacts, items, images, seen)
        each = self.params.per_prompt
        return [
            self._sample(item, model.steps, images[i * each : (i + 1) * each], seen, i * each)
            for i, item in enumerate(items)
        ]

    def summarise(self, samples: Sequence[Sample], context: Context) -> Mapping[str, Summary]:
        from kdbench.tasks.images.feature_store import FeatureStore
        from kdbench.tasks.images.set_scores import FeatureSet, score

        assert context.artifacts is not None
        places = [
            place for sample in samples for place in places_of(sample.index, self.params.per_prompt)
        ]
        clusters = [sample.cluster for sample in samples for _ in range(self.params.per_prompt)]
        labels = self.folds(samples)
        found: dict[str, Summary] = {}
        for name, asked in self._whole.items():
            encoder = self._look.encoders[name]
            rows = FeatureStore(context.artifacts, name, encoder.dimension).read(places)
            reference = self._reference(name) if any(a.kind.reference for a in asked) else None
            given = FeatureSet(rows, labels, clusters, reference)
            for one in asked:
                found |= score(one, given)
        return found

    def folds(self, samples: Sequence[Sample]) -> NDArray[np.intp]:
        """The fold of each image of `samples`: by prompts, or every class alike in each."""
        from kdbench.tasks.images.set_scores import folds_of

        images = [sample for sample in samples for _ in range(self.params.per_prompt)]
        # a sample shows its class as its prompt
        classes = [sample.prompt for sample in images] if self.params.labels else None
        return folds_of([sample.cluster for sample in images], classes)

    def so_far(self, context: Context) -> dict[str, float]:
        """Frechet distances of the images that are there, and nothing where they are too few."""
        from kdbench.tasks.images.feature_store import FeatureStore
        from kdbench.tasks.images.running import frechet_so_far

        found = {}
        for name, asked in self._whole.items():
            for one in asked:
                if one.kind.name in ("fid", "frechet") and context.artifacts is not None:
                    store = FeatureStore(
                        context.artifacts, name, self._look.encoders[name].dimension
                    )
                    value = frechet_so_far(store, self._reference(name))
                    if value is not None:
                        found[one.metrics[0].name] = value
        return found

    @cached_property
    def conditions(self) -> Conditions:
        return Conditions(self.params, self.folder)

    @cached_property
    def references(self) -> References:
        asked = self.params
        return References(asked.reference, asked.references, asked.reference_from, self.folder)

    @cached_property
    def _asked(self) -> tuple[list[Asked], list[JudgeSpec]]:
        scores, judges = parsed(self.params.metrics, OWN if self.params.encoder else None)
        asked = self.params
        for one in scores:
            if one.kind.per_sample and asked.per_prompt < 2:
                raise TaskError(
                    f"{one.kind.name} compares images of one prompt: set per_prompt >= 2"
                )
            if one.kind.reference:
                self.references.named(one.encoder)
        if judges and asked.prompts is None:
            raise TaskError(
                f"{judges[0].name} judges images with their prompts, and there are none"
            )
        if asked.images is not None and not asked.prompts:
            for one in scores:
                if not one.kind.per_sample and asked.images < one.kind.fewest:
                    raise TaskError(
                        f"{one.kind.name} needs at least {one.kind.fewest} images, the suite asks for "
                        f"{asked.images}"
                    )
        return scores, judges

    @cached_property
    def _whole(self) -> dict[str, list[Asked]]:
        """Scores of the whole set by their encoders."""
        found: dict[str, list[Asked]] = {}
        for one in self._asked[0]:
            if not one.kind.per_sample:
                found.setdefault(one.encoder, []).append(one)
        return found

    @cached_property
    def _encoders(self) -> dict[str, EncoderSpec]:
        own = self.folder / self.params.encoder if self.params.encoder else None
        names = [one.encoder for one in self._asked[0]]
        return {name: encoder_spec(name, own if name == OWN else None) for name in names}

    @cached_property
    def _reference_digests(self) -> dict[str, str]:
        """Empty while one of them is not here yet."""
        return {} if self.references.downloads() else self.references.fingerprint()

    @cached_property
    def _look(self) -> OnePass:
        from kdbench.models.loading import torch_device

        where = torch_device("auto")
        encoders = {name: spec.load(where) for name, spec in self._encoders.items()}
        judges = {spec.name: spec.load(where) for spec in self._asked[1]}
        from kdbench.tasks.images.one_pass import OnePass

        return OnePass(encoders, judges, where)

    @cached_property
    def _loaded_references(self) -> dict[str, Reference]:
        return {}

    def _reference(self, name: str) -> Reference:
        if name not in self._loaded_references:
            found = self.references.of(name, self._look.encoders[name])
            self._loaded_references[name] = found
        return self._loaded_references[name]

    def _check_references(self) -> None:
        """Before the first image is made, not after the last."""
        for one in self._asked[0]:
            if one.kind.reference:
                reference = self._reference(one.encoder)
                if one.kind.name not in (
                    "fid",
                    "frechet",
                    "fid_infinity",
                    "frechet_infinity",
                    "cmmd",
                ):
                    reference.rows()

    def _keep(
        self, folder: Path, items: Sequence[Item], images: Sequence[Image], seen: Seen
    ) -> None:
        """What samples have no room for, on the disk before they are."""
        from kdbench.tasks.images.feature_store import FeatureStore

        places = [
            place for item in items for place in places_of(item.index, self.params.per_prompt)
        ]
        if self.params.spill:
            gallery.spill(folder, places, images)
        for name in self._whole:
            rows = seen.features[name]
            FeatureStore(folder, name, rows.shape[1]).write(places, rows)

    def _sample(
        self, item: Item, steps: int | None, images: Sequence[Image], seen: Seen, start: int
    ) -> Sample:
        from kdbench.tasks.images.set_scores import of_prompt

        own = slice(start, start + self.params.per_prompt)
        scores = {name: sum(found[own]) / len(images) for name, found in seen.scores.items()}
        for one in self._asked[0]:
            if one.kind.per_sample:
                scores[one.metrics[0].name] = of_prompt(one, seen.features[one.encoder][own])
        extra: dict[str, Any] = {"images": [gallery.digest(image) for image in images]}
        if steps is not None:
            extra["steps"] = steps
        if item.index < self.params.gallery:
            extra["thumbnails"] = [gallery.thumbnail(image) for image in images]
            extra["asked"] = described(item)
        return Sample(
            item.id, item.index, item.cluster, scores, prompt=described(item), extra=extra
        )


def _judged(spec: JudgeSpec) -> Metric:
    return Metric(spec.name, spec.unit, "higher", spec.about)


def _brief(digests: Mapping[str, str]) -> str:
    return (
        ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(digests.items())) or "not here"
    )
