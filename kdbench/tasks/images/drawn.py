"""The task `equal_noise.images`: what a teacher draws, kept whole for its students."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError, TaskError
from kdbench.models.adapter import Download
from kdbench.models.protocols import GENERATE_IMAGES
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.images import gallery
from kdbench.tasks.images.conditions import ConditionParams, Conditions, described, places_of
from kdbench.tasks.task import Context, Item, Metric, ModelTask

if TYPE_CHECKING:
    from kdbench.models.images import Image


@task("equal_noise.images")
class DrawnImages(ModelTask):
    """Lossless PNGs beside the cell, about as large as the pixels; `extra["images"]` has a hash of each.

    It scores nothing and has no rows of its own: where it fails, the rows that rest on it say why.
    """

    version = 1
    about = "images that a teacher draws, kept whole for its students to be compared with"
    source = "kdbench"
    Params = ConditionParams
    params: ConditionParams

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return []

    @property
    def label(self) -> str:
        return f"equal_noise.images/{self.params.set_name}"

    def identity(self) -> dict[str, Any]:
        return self.params.model_dump(mode="json", exclude={"name", "prompts", "prompts_from"})

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_IMAGES})

    def metrics(self) -> list[Metric]:
        return []

    def protocol(self) -> dict[str, str]:
        return self._conditions.protocol()

    def data_fingerprint(self) -> str:
        return self._conditions.fingerprint()

    def downloads(self) -> list[Download]:
        return self._conditions.downloads()

    def fetch(self) -> None:
        self._conditions.fetch()

    def items(self, limit: int | None) -> list[Item]:
        return self._conditions.items(limit)

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        assert context.artifacts is not None
        images = model.generate_images(self._conditions.requests(items, context))
        each = self.params.per_prompt
        places = [place for item in items for place in places_of(item.index, each)]
        gallery.spill(context.artifacts, places, images)
        steps = {} if model.steps is None else {"steps": model.steps}
        return [
            Sample(
                item.id, item.index, item.cluster, {}, prompt=described(item),
                extra={
                    "images": [gallery.digest(one) for one in images[i * each : (i + 1) * each]],
                    **steps,
                },
            )
            for i, item in enumerate(items)
        ]  # fmt: skip

    @property
    def _conditions(self) -> Conditions:
        return Conditions(self.params, self.folder)


def drawn(folder: Path, sample: Sample) -> list[Image]:
    """The images of one of `DrawnImages`' samples, from its cell's artifacts in `folder`.

    Raises `TaskError` for images that are missing or no longer those that were drawn.
    """
    digests = sample.extra["images"]
    try:
        found = gallery.spilled(folder, places_of(sample.index, len(digests)))
    except ModelError as error:
        raise TaskError(f"{error}, or {_again(folder)}") from error
    if [gallery.digest(image) for image in found] != digests:
        raise TaskError(
            f"{folder}: images of {sample.id} are not those that were drawn; {_again(folder)}"
        )
    return found


def _again(folder: Path) -> str:
    return f"delete {folder.parent} and run again: only that cell is measured anew"
