"""`efficiency.classifier`: image classifiers of a pair over batch sizes, in turns."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from kdbench.models.protocols import TIME_CLASSIFIER
from kdbench.registry import task
from kdbench.tasks.efficiency.batches import BatchParams, BatchTask
from kdbench.tasks.task import Context

if TYPE_CHECKING:
    from kdbench.models.timing.batch_run import BatchRun


class ClassifierParams(BatchParams):
    """Batches of images, each a task of its own."""

    batch: list[Annotated[int, Field(ge=1)] | Literal["best"]] = Field(
        [1, 8, "best"],
        min_length=1,
        description="images at a time; best: where most are classified a second",
    )


@task("efficiency.classifier")
class EfficiencyClassifier(BatchTask):
    """Needs classifiers that are loaded into this process."""

    version = 1
    what = "classifier"
    about = "latency, throughput and speed-up of a pair of image classifiers over batch sizes"
    source = "kdbench; MFU as Chowdhery et al. 2022 with a measured peak"
    Params: ClassVar[type[BatchParams]] = ClassifierParams

    def verbs(self) -> frozenset[str]:
        return frozenset({TIME_CLASSIFIER})

    def protocol(self) -> dict[str, str]:
        return {**super().protocol(), "latency": "from normalised pixels on the device to classes"}

    def data_fingerprint(self) -> str:
        return "noise, by the seed"

    def open_run(
        self, model: Any, context: Context, batch: int
    ) -> AbstractContextManager[BatchRun]:
        run: AbstractContextManager[BatchRun] = model.time_classifier(batch, context.seed)
        return run
