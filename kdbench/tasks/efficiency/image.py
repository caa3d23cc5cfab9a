"""`efficiency.image`: image generators of a pair, whole pipelines and their parts, in turns."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from kdbench.models.protocols import TIME_IMAGES
from kdbench.registry import task
from kdbench.tasks.efficiency.batches import BatchParams, BatchTask
from kdbench.tasks.task import Context, Metric

if TYPE_CHECKING:
    from kdbench.models.timing.batch_run import BatchRun


class ImageParams(BatchParams):
    """Batches of images, as `BatchParams`, and what they are of."""

    prompt: str = Field(
        "a photograph of a red bicycle that leans on a brick wall",
        description="of every image, for generators that take one; labels go round all classes",
    )
    most: int = Field(
        16, ge=1, description="images at a time that the search for the best goes up to"
    )


@task("efficiency.image")
class EfficiencyImage(BatchTask):
    """Needs pipelines that are loaded into this process."""

    version = 1
    what = "image"
    about = (
        "whole pipeline, denoiser per step, decoding, images/s and speed-up of a pair of generators"
    )
    source = "kdbench; latency of the whole pipeline as MLPerf's text-to-image"
    Params: ClassVar[type[BatchParams]] = ImageParams
    PARTS = (
        Metric("denoiser", "s", "lower", "all evaluations of the denoiser, of a batch", "p50"),
        Metric("denoiser.per_step", "s", "lower", "denoiser / steps: one evaluation of a batch", "p50"),
        Metric("decode", "s", "lower", "latents to pixels, of a batch", "p50"),
        Metric("rest", "s", "lower", "text encoders, scheduler, and colours as arrays", "p50"),
        Metric("steps", "NFE", "lower", "evaluations of an image; a guided step is two", "exact"),
    )  # fmt: skip
    PART_RATIOS: ClassVar[Mapping[str, str]] = {"speedup.per_step": "denoiser.per_step"}

    def verbs(self) -> frozenset[str]:
        return frozenset({TIME_IMAGES})

    def protocol(self) -> dict[str, str]:
        return {
            **super().protocol(),
            "prompt": self.params.prompt,
            "latency": "from prompt or label to uint8 arrays",
            "steps": "NFE, guidance counted",
        }

    def data_fingerprint(self) -> str:
        return "noise, by the seed"

    def open_run(
        self, model: Any, context: Context, batch: int
    ) -> AbstractContextManager[BatchRun]:
        run: AbstractContextManager[BatchRun] = model.time_images(
            batch, self.params.prompt, context.seed
        )
        return run
