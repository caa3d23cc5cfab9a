"""What timings of image models share: a batch of images, teacher and student in turns.

Each batch is a task of its own. `best` stands for the batch at which a model makes most images a second,
found for each model by doubling; speed-ups are then per image.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from weakref import WeakKeyDictionary

from pydantic import Field

from kdbench.tasks.efficiency.grid import most_informative
from kdbench.tasks.efficiency.turns import SPREAD, Trial, TurnsParams, TurnsTask
from kdbench.tasks.task import Context, Metric

if TYPE_CHECKING:
    from kdbench.metrics.roofline import Ceilings, Work
    from kdbench.models.timing import Round
    from kdbench.models.timing.batch_run import BatchRun
    from kdbench.tasks.panel import Panel


class BatchParams(TurnsParams):
    """Batches, each a task of its own."""

    batch: list[Annotated[int, Field(ge=1)] | Literal["best"]] = Field(
        [1, "best"],
        min_length=1,
        description="images at a time; best: where most are made a second",
    )
    most: int = Field(
        64, ge=1, description="images at a time that the search for the best goes up to"
    )


SPEEDUP = Metric("speedup", "ratio", "higher", "teacher / student per image", "median_ratio")
OWN = [
    Metric("latency", "s", "lower", "of a whole batch", "p50"),
    Metric("images_per_second", "images/s", "higher", "batch / latency", "p50"),
    Metric("flops_per_image", "FLOP (multiply-add = 2)", "lower", "counted by torch in a real call", "exact"),
    Metric("mfu", "fraction", "higher", "achieved FLOP/s over the measured matmul peak", "p50"),
    Metric("mbu", "ratio", "higher", "bytes that must move over the measured copy bandwidth", "p50"),
    Metric("lower_bound", "s", "lower", "of a whole batch at full arithmetic or full bandwidth", "p50"),
    Metric("energy", "J/image", "lower", "of the counter's domain", "weighted_mean"),
    *SPREAD,
    Metric("batch", "images", "higher", "images at a time; where they don't fit, the largest that do", "p50"),
]  # fmt: skip


class BatchTask(TurnsTask):
    """A family's task says how a run is opened, what it is made of, and what else its protocol holds."""

    Params: ClassVar[type[BatchParams]] = BatchParams
    units, fits = "images", "batch"
    what: ClassVar[str]
    """The word in the label: efficiency/`what`/b8."""
    PARTS: ClassVar[Sequence[Metric]] = ()
    """Metrics of the parts of a call (`BatchRun.parts`), and of what is counted beside FLOPs."""
    PART_RATIOS: ClassVar[Mapping[str, str]] = {}
    """Further speed-ups, and the part that each is of."""

    def __init__(self, params: Any, folder: Path) -> None:
        super().__init__(params, folder)
        self._best: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    @classmethod
    def expand(cls, params: Any, folder: Path) -> list[Any]:
        sizes = [(one,) for one in params.batch if one != "best"]
        order: list[Any] = [one for (one,) in most_informative(sizes)]
        order += ["best"] if "best" in params.batch else []
        return [params.model_copy(update={"batch": [one]}) for one in order]

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import BATCHES

        return BATCHES

    @property
    def _batch(self) -> int | None:
        """Images at a time; None for the best."""
        one = self.params.batch[0]
        return None if one == "best" else int(one)

    @property
    def label(self) -> str:
        return f"efficiency/{self.what}/{f'b{self._batch}' if self._batch else 'best'}"

    def own(self) -> Sequence[Metric]:
        return [*OWN, *self.PARTS]

    def ratios(self) -> Mapping[str, tuple[Metric, str]]:
        parts = {
            name: (Metric(name, "ratio", "higher", f"teacher / student: {part}", "median_ratio"), part)
            for name, part in self.PART_RATIOS.items()
        }  # fmt: skip
        return {"speedup": (SPEEDUP, "latency"), **parts}

    def protocol(self) -> dict[str, str]:
        asked = self.params
        batch = self._batch
        shape = f"{batch} images" if batch else f"each model's best batch up to {asked.most} images"
        return {
            "shape": shape,
            "rounds": f"{asked.rounds} interleaved, {asked.min_seconds:g} s at least",
            "warm_up": "at the shape until stable",
            "flops": "multiply-add = 2",
        }

    def batch_of(self, model: Any, context: Context) -> int:
        return self._batch or self._found(model, context)[0]

    def tried(self, model: Any, context: Context) -> Trial | None:
        from kdbench.models.timing.batch_run import runs

        open_run = partial(self.open_run, model, context)
        batch, searched = (self._batch, 0.0) if self._batch else self._found(model, context)
        called = runs(open_run, batch, calls=4) if batch else None
        if called is None:
            return None
        began = time.perf_counter()
        with open_run(batch) as run:
            run.work()
            run.facts()
            counted = time.perf_counter() - began
            run.ceilings()  # remembered by the process and beside it, whatever is loaded
        return Trial(called.typical, searched + counted)

    def _found(self, model: Any, context: Context) -> tuple[int, float]:
        """The best batch of a model, and the seconds that finding it took just now: it is remembered, so that
        all rounds of a process have the same."""
        from kdbench.models.timing.batch_run import best

        if model in self._best:
            return self._best[model], 0.0
        found = best(partial(self.open_run, model, context), self.params.most)
        self._best[model] = found.batch
        return found.batch, found.spent

    def share(self, run: BatchRun) -> int:
        return run.batch

    def produced(self, run: BatchRun) -> int:
        return run.batch

    def more(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        return {"steps": int(scores["steps.student"])} if "steps.student" in scores else {}

    def of_model(
        self, one: Round, name: str, run: BatchRun, work: Work, most: Ceilings
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        from statistics import fmean

        from kdbench.tasks.efficiency import pair_timing

        calls = one.calls[name]
        whole = one.seconds(name)
        against = pair_timing.against_ceilings(work, whole, most)
        parts = [run.parts(call) for call in calls]
        scores = {
            "latency": whole,
            "images_per_second": run.batch / whole,
            **{part: fmean(each[part] for each in parts) for part in parts[0]},
            **run.facts(),
            "mfu": against["mfu"],
            "mbu": against["mbu"],
            "lower_bound": against["lower_bound"],
            "noise": whole,
            "outliers": [call[-1] for call in calls],
            "batch": run.batch,
        }
        ceilings = {"flops": most.flops, "bandwidth": most.bandwidth}
        return scores, {
            "phases": {"whole": against},
            "seconds": {"whole": whole},
            "ceilings": ceilings,
        }
