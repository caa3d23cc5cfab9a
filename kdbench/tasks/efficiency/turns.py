"""What timings of a pair in this process share: rounds in turns, shapes that don't fit, and the time ahead.

A family says how a run of a model is opened, how large its batch is, and what the numbers of a round are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from kdbench.errors import ModelError
from kdbench.results.sample import Sample
from kdbench.tasks.efficiency.roles import for_roles, round_items
from kdbench.tasks.task import Context, Item, Metric, PairTask, Prediction, TaskParams

if TYPE_CHECKING:
    from kdbench.models.timing import Round
    from kdbench.tasks.efficiency.pair_timing import Timed


SPREAD = [
    Metric("noise", "fraction", "lower", "1.4826 MAD / median of the rounds' latency", "noise"),
    Metric("outliers", "calls", "lower", "calls above the upper quartile by 3 IQR; they stay in", "outliers"),
]  # fmt: skip
"""How steady the rounds of a model were."""


class TurnsParams(TaskParams):
    """How long teacher and student take turns, and which tails are wanted."""

    rounds: int = Field(16, ge=6, le=1000, description="of teacher and student in turns")
    min_seconds: float = Field(1.0, ge=0, description="that all rounds of a model last at least")
    percentiles: list[Literal[90, 95, 99]] = Field(
        [], description="of single calls; refused where too few were timed to carry them"
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """Seconds of a whole call, as short calls foretell it, and of what a loaded model costs once."""

    call: float
    once: float = 0.0


class TurnsTask(PairTask):
    """`own` are the metrics of each model, `ratios` the speed-ups with what each is a ratio of."""

    timing = True
    headlines = ("speedup",)
    params: Any
    units: ClassVar[str]
    """What a batch is made of: rows, images."""
    fits: ClassVar[str]
    """The metric that says how many of them fit."""

    @abstractmethod
    def open_run(self, model: Any, context: Context, batch: int) -> AbstractContextManager[Any]:
        """The model's run of a batch; raises `ModelError` where it can't be."""

    @abstractmethod
    def batch_of(self, model: Any, context: Context) -> int:
        """How many rows or images at a time; 0 where not even one fits."""

    @abstractmethod
    def tried(self, model: Any, context: Context) -> Trial | None:
        """What a few calls tell of the time that a whole one takes; None where memory runs out."""

    @abstractmethod
    def own(self) -> Sequence[Metric]:
        """Metrics of each of the two models."""

    @abstractmethod
    def ratios(self) -> Mapping[str, tuple[Metric, str]]:
        """Speed-ups by name, each with the metric of the models that it divides."""

    @abstractmethod
    def of_model(
        self, one: Round, name: str, run: Any, work: Any, most: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A model's scores of a round, and its phases against the machine's ceilings."""

    @abstractmethod
    def produced(self, run: Any) -> int:
        """Tokens or images that a call makes, for energy."""

    def check(self, run: Any) -> None:
        """Raise `TaskError` where what was timed is not what was meant to be."""
        return None

    def share(self, run: Any) -> int:
        """What a call's time is divided by before it is compared."""
        return 1

    def absent(self, names: Sequence[str]) -> dict[str, str]:
        """Why metrics have no score in any round."""
        return dict.fromkeys(names, "the model has no such part")

    def more(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """What else a sample keeps."""
        return {}

    def metrics(self) -> list[Metric]:
        tails = [
            Metric(f"latency.p{q}", "s", "lower", "of single calls", f"p{q}")
            for q in self.params.percentiles
        ]
        ratios = [metric for metric, _ in self.ratios().values()]
        return [*ratios, *for_roles([*self.own(), *tails])]

    def items(self, limit: int | None) -> list[Item]:
        return round_items(self.label, self.params.rounds, limit)

    def least_seconds(self) -> float:
        return 2.0 * float(self.params.min_seconds)

    def predict(
        self, models: Mapping[str, Any], items: Sequence[Item], context: Context
    ) -> Prediction:
        """From a few calls at the very shape; where they can't be, nothing will be measured either."""
        from kdbench.models.timing import WarmUp, repeats_for
        from kdbench.models.timing.batch_run import ran_out

        rounds, warm, once = 0.0, 0.0, {}
        for role, model in models.items():
            try:
                trial = self.tried(model, context)
            except (ModelError, RuntimeError, MemoryError) as error:
                if isinstance(error, ModelError) or ran_out(error):
                    return Prediction()
                raise
            if trial is None:
                return Prediction()
            repeats = repeats_for(trial.call, self.params.rounds, self.params.min_seconds)
            rounds += trial.call * repeats * len(items)
            warm += WarmUp().seconds_for(trial.call)
            once[role] = trial.once
        return Prediction(rounds, warm, once)

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        from kdbench.models.timing.batch_run import largest, ran_out

        models = {"teacher": teacher, "student": student}
        try:
            return self._timed(models, items, context)
        except (ModelError, RuntimeError, MemoryError) as error:
            if not ran_out(error):
                if isinstance(error, ModelError):
                    return self._without(items, " ".join(str(error).split()), {})
                raise
        # outside the handler: the error's traceback would keep the run's tensors alive
        fits, asked = {}, []
        for name, model in models.items():
            asked.append(max(1, self.batch_of(model, context)))
            fits[name] = largest(partial(self.open_run, model, context), asked[-1])
        told = ", ".join(f"{count} of the {name}" for name, count in fits.items())
        many = f"{max(asked)} {self.units} do" if max(asked) > 1 else f"1 of {self.units} does"
        reason = f"{many} not fit into memory; by halving the largest are {told}"
        return self._without(items, reason, {f"{self.fits}.{name}": n for name, n in fits.items()})

    def _timed(
        self, models: Mapping[str, Any], items: Sequence[Item], context: Context
    ) -> list[Sample]:
        from kdbench.models.timing import Subject
        from kdbench.tasks.efficiency import pair_timing

        with ExitStack() as stack:
            runs: dict[str, Any] = {}
            for name, model in models.items():
                try:
                    batch = max(1, self.batch_of(model, context))
                    runs[name] = stack.enter_context(self.open_run(model, context, batch))
                except ModelError as error:
                    raise ModelError(f"{name}: {error}") from error
            devices = {run.device for run in runs.values()}
            if len(devices) > 1:
                raise ModelError(
                    f"teacher and student lie on {' and '.join(sorted(devices))}; a speed-up is timed on "
                    "one device"
                )
            subjects = [Subject(name, run) for name, run in runs.items()]
            teacher = runs["teacher"]
            timed = pair_timing.time_pair(
                subjects, teacher.clock, teacher.device, items, context.seed, self.params.rounds,
                self.params.min_seconds,
            )  # fmt: skip
            for run in runs.values():
                self.check(run)
            work = {name: (run.work(), run.ceilings()) for name, run in runs.items()}
            return self._samples(items, timed, runs, work)

    def _samples(
        self,
        items: Sequence[Item],
        timed: Timed,
        runs: Mapping[str, Any],
        work: Mapping[str, tuple[Any, Any]],
    ) -> list[Sample]:
        from kdbench.tasks.efficiency import pair_timing

        asked = self.params
        few = pair_timing.unsupported_percentiles(asked.percentiles, asked.rounds, timed.repeats)
        skipped = {**few, **pair_timing.energy_skipped(timed)}
        found = []
        for item, one in zip(items, timed.rounds, strict=True):
            scores: dict[str, Any] = {}
            roofline = {}
            for name, run in runs.items():
                own, roofline[name] = self.of_model(one, name, run, *work[name])
                scores |= {f"{key}.{name}": value for key, value in own.items()}
                scores |= pair_timing.energy_scores(one, name, self.produced(run))
                for q in asked.percentiles:
                    if f"latency.p{q}.{name}" not in few:
                        scores[f"latency.p{q}.{name}"] = own["outliers"]
            shares = {name: self.share(run) for name, run in runs.items()}
            for ratio, (_, base) in self.ratios().items():
                pair = [scores.get(f"{base}.{name}", 0.0) / shares[name] for name in runs]
                if all(pair):
                    scores[ratio] = pair
                else:
                    skipped.setdefault(ratio, f"a model has no {base}")
            missing = [m.name for m in self.metrics() if m.name not in scores]
            reasons = self.absent(missing) | skipped
            more = {"roofline": roofline, **self.more(scores)}
            found.append(pair_timing.sample_of(item, one, scores, timed, reasons, more))
        return found

    def _without(self, items: Sequence[Item], reason: str, scores: dict[str, int]) -> list[Sample]:
        """Samples of a shape that can't be timed: the reason, and what is known all the same."""
        skipped = {one.name: reason for one in self.metrics() if one.name not in scores}
        extra = {"skipped": skipped}
        return [Sample(i.id, i.index, i.cluster, dict(scores), extra=extra) for i in items]
