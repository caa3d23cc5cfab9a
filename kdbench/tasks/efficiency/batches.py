"""What timings of image models share: a batch of images, teacher and student in turns.

Each batch is a task of its own. `best` stands for the batch at which a model makes most images a second,
found for each model by doubling; speed-ups are then per image.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from weakref import WeakKeyDictionary

from pydantic import Field

from kdbench.errors import ModelError
from kdbench.results.sample import Sample
from kdbench.tasks.efficiency.grid import most_informative
from kdbench.tasks.efficiency.roles import for_roles, round_items
from kdbench.tasks.task import Context, Item, Metric, PairTask, TaskParams

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kdbench.metrics.roofline import Ceilings, Work
    from kdbench.models.timing import Round
    from kdbench.models.timing.batch_run import BatchRun, Open
    from kdbench.tasks.efficiency.pair_timing import Timed
    from kdbench.tasks.panel import Panel

WARM_CALLS = 5


class BatchParams(TaskParams):
    """Batches, each a task of its own."""

    batch: list[Annotated[int, Field(ge=1)] | Literal["best"]] = Field(
        [1, "best"],
        min_length=1,
        description="images at a time; best: where most are made a second",
    )
    most: int = Field(
        64, ge=1, description="images at a time that the search for the best goes up to"
    )
    rounds: int = Field(16, ge=6, le=1000, description="of teacher and student in turns")
    min_seconds: float = Field(1.0, ge=0, description="that all rounds of a model last at least")
    percentiles: list[Literal[90, 95, 99]] = Field(
        [], description="of single calls; refused where too few were timed to carry them"
    )


class BatchTask(PairTask):
    """A family's task says how a run is opened, what it is made of, and what else its protocol holds."""

    timing = True
    headlines = ("speedup",)
    Params: ClassVar[type[BatchParams]] = BatchParams
    params: Any
    what: ClassVar[str]
    """The word in the label: efficiency/`what`/b8."""
    PARTS: ClassVar[Sequence[Metric]] = ()
    """Metrics of the parts of a call (`BatchRun.parts`), and of what is counted beside FLOPs."""
    PART_RATIOS: ClassVar[Mapping[str, str]] = {}
    """Further speed-ups, and the part that each is of."""

    def __init__(self, params: Any, folder: Path) -> None:
        super().__init__(params, folder)
        self._best: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    @abstractmethod
    def open_run(
        self, model: Any, context: Context, batch: int
    ) -> AbstractContextManager[BatchRun]:
        """The model's run of a batch; raises `ModelError` where it can't be."""

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

    def metrics(self) -> list[Metric]:
        tails = [
            Metric(f"latency.p{q}", "s", "lower", "of single calls", f"p{q}")
            for q in self.params.percentiles
        ]
        ratios = [
            Metric("speedup", "ratio", "higher", "teacher / student per image", "median_ratio"),
            *(
                Metric(name, "ratio", "higher", f"teacher / student: {part}", "median_ratio")
                for name, part in self.PART_RATIOS.items()
            ),
        ]  # fmt: skip
        return [*ratios, *for_roles([*OWN, *self.PARTS, *tails])]

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

    def items(self, limit: int | None) -> list[Item]:
        return round_items(self.label, self.params.rounds, limit)

    def predict(self, models: Sequence[Any], items: Sequence[Item], context: Context) -> float:
        """From two calls at the very shape; where they can't be, nothing will be measured either."""
        from kdbench.models.timing import repeats_for
        from kdbench.models.timing.batch_run import ran_out, runs

        total = 0.0
        for model in models:
            open_run = partial(self.open_run, model, context)
            try:
                batch = self._size(model, open_run)
                call = runs(open_run, batch) if batch else None
            except (ModelError, RuntimeError, MemoryError) as error:
                if isinstance(error, ModelError) or ran_out(error):
                    return 0.0
                raise
            if call is None:
                return 0.0
            repeats = repeats_for(call, self.params.rounds, self.params.min_seconds)
            total += call * (WARM_CALLS + repeats * len(items))
        return total

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        from kdbench.models.timing.batch_run import largest, ran_out

        models = {"teacher": teacher, "student": student}
        opened = {name: partial(self.open_run, each, context) for name, each in models.items()}
        try:
            return self._timed(models, opened, items, context)
        except (ModelError, RuntimeError, MemoryError) as error:
            if not ran_out(error):
                if isinstance(error, ModelError):
                    return self._without(items, " ".join(str(error).split()), {})
                raise
        # outside the handler: the error's traceback would keep the run's tensors alive
        fits = {name: largest(each, self._batch or 1) for name, each in opened.items()}
        told = ", ".join(f"{count} of the {name}" for name, count in fits.items())
        count = self._batch or "too many"
        reason = f"{count} images do not fit into memory; by halving the largest are {told}"
        return self._without(items, reason, {f"batch.{name}": n for name, n in fits.items()})

    def _size(self, model: Any, open_run: Open) -> int:
        """Images at a time of one model; 0 where not even one fits. A search is remembered, so that all
        rounds of a process have the same."""
        from kdbench.models.timing.batch_run import best

        if self._batch:
            return self._batch
        if model not in self._best:
            self._best[model] = best(open_run, self.params.most)
        return self._best[model]

    def _timed(
        self,
        models: Mapping[str, Any],
        opened: Mapping[str, Open],
        items: Sequence[Item],
        context: Context,
    ) -> list[Sample]:
        from kdbench.models.timing import Subject
        from kdbench.tasks.efficiency import pair_timing

        with ExitStack() as stack:
            found: dict[str, BatchRun] = {}
            for name, open_run in opened.items():
                try:
                    batch = max(1, self._size(models[name], open_run))
                    found[name] = stack.enter_context(open_run(batch))
                except ModelError as error:
                    raise ModelError(f"{name}: {error}") from error
            devices = {run.device for run in found.values()}
            if len(devices) > 1:
                raise ModelError(
                    f"teacher and student lie on {' and '.join(sorted(devices))}; a speed-up is timed on "
                    "one device"
                )
            subjects = [Subject(name, run) for name, run in found.items()]
            teacher = found["teacher"]
            timed = pair_timing.time_pair(
                subjects, teacher.clock, teacher.device, items, context.seed, self.params.rounds,
                self.params.min_seconds,
            )  # fmt: skip
            work = {name: (run.work(), run.ceilings()) for name, run in found.items()}
            return self._samples(items, timed, found, work)

    def _samples(
        self,
        items: Sequence[Item],
        timed: Timed,
        runs: Mapping[str, BatchRun],
        work: Mapping[str, tuple[Work, Ceilings]],
    ) -> list[Sample]:
        from kdbench.tasks.efficiency import pair_timing

        few = pair_timing.unsupported_percentiles(
            self.params.percentiles, self.params.rounds, timed.repeats
        )
        skipped = {**few, **pair_timing.energy_skipped(timed)}
        found = []
        for item, one in zip(items, timed.rounds, strict=True):
            scores: dict[str, Any] = {}
            roofline = {}
            for name, run in runs.items():
                own, roofline[name] = _of_model(one, name, run, *work[name])
                scores |= {f"{key}.{name}": value for key, value in own.items()}
                scores |= pair_timing.energy_scores(one, name, run.batch)
                for q in self.params.percentiles:
                    if f"latency.p{q}.{name}" not in few:
                        scores[f"latency.p{q}.{name}"] = own["outliers"]
            images = {name: run.batch for name, run in runs.items()}
            for ratio, base in {"speedup": "latency", **self.PART_RATIOS}.items():
                pair = [scores.get(f"{base}.{name}", 0.0) / images[name] for name in images]
                if all(pair):
                    scores[ratio] = pair
                else:
                    skipped[ratio] = f"a model has no {base}"
            missing = [m.name for m in self.metrics() if m.name not in scores]
            reasons = dict.fromkeys(missing, "the model has no such part") | skipped
            more: dict[str, Any] = {"roofline": roofline}
            if "steps.student" in scores:
                more["steps"] = int(scores["steps.student"])
            found.append(pair_timing.sample_of(item, one, scores, timed, reasons, more))
        return found

    def _without(self, items: Sequence[Item], reason: str, scores: dict[str, int]) -> list[Sample]:
        """Samples of a batch that can't be timed: the reason, and what is known all the same."""
        skipped = {one.name: reason for one in self.metrics() if one.name not in scores}
        extra = {"skipped": skipped}
        return [Sample(i.id, i.index, i.cluster, dict(scores), extra=extra) for i in items]


def _of_model(
    one: Round, name: str, run: BatchRun, work: Work, most: Ceilings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's scores of a round, and its call against the machine's ceilings."""
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
    return scores, {"phases": {"whole": against}, "seconds": {"whole": whole}, "ceilings": ceilings}


OWN = [
    Metric("latency", "s", "lower", "of a whole batch", "p50"),
    Metric("images_per_second", "images/s", "higher", "batch / latency", "p50"),
    Metric("flops_per_image", "FLOP (multiply-add = 2)", "lower", "counted by torch in a real call", "exact"),
    Metric("mfu", "fraction", "higher", "achieved FLOP/s over the measured matmul peak", "p50"),
    Metric("mbu", "ratio", "higher", "bytes that must move over the measured copy bandwidth", "p50"),
    Metric("lower_bound", "s", "lower", "of a whole batch at full arithmetic or full bandwidth", "p50"),
    Metric("energy", "J/image", "lower", "of the counter's domain", "weighted_mean"),
    Metric("noise", "fraction", "lower", "1.4826 MAD / median of the rounds' latency", "noise"),
    Metric("outliers", "calls", "lower", "calls above the upper quartile by 3 IQR; they stay in", "outliers"),
    Metric("batch", "images", "higher", "images at a time; where they don't fit, the largest that do", "p50"),
]  # fmt: skip
