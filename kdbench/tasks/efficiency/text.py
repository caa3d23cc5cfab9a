"""`efficiency.text`: a pair generating text, teacher and student in turns, over a grid of shapes.

Each shape (rows x prompt tokens x new tokens) is a task of its own, so that one that fails, or that a budget
leaves out, costs no other.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from kdbench.errors import ModelError
from kdbench.models.protocols import TIME_TEXT
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.efficiency.grid import most_informative
from kdbench.tasks.efficiency.roles import for_roles, round_items
from kdbench.tasks.task import Context, Item, Metric, PairTask, TaskParams

if TYPE_CHECKING:
    from kdbench.metrics.roofline import Ceilings
    from kdbench.models.timing import Round
    from kdbench.models.timing.text_run import Execution, TextShape, TextWork
    from kdbench.tasks.efficiency.pair_timing import Timed
    from kdbench.tasks.panel import Panel

PILOT_TOKENS = 6
"""New tokens of the runs that a prediction rests on."""

WARM_CALLS = 5
"""Calls that a warm-up takes as a rule."""


class TextParams(TaskParams):
    """A grid: every batch with every prompt with every number of new tokens."""

    batch: list[int] = Field([1], min_length=1, description="rows generated together")
    prompt_tokens: list[int] = Field([128], min_length=1, description="tokens of each prompt")
    new_tokens: list[int] = Field([32], min_length=1, description="tokens generated for each row")
    rounds: int = Field(16, ge=6, le=1000, description="of teacher and student in turns")
    min_seconds: float = Field(1.0, ge=0, description="that all rounds of a model last at least")
    percentiles: list[Literal[90, 95, 99]] = Field(
        [], description="of single calls; refused where too few were timed to carry them"
    )
    attention: str | None = Field(None, description="eager, sdpa, ...; default: as loaded")
    compile: Literal[
        "none", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"
    ] = Field("none", description="torch.compile's mode; reduce-overhead uses CUDA graphs")
    cache: Literal["dynamic", "static"] = Field(
        "dynamic", description="how keys and values are kept"
    )
    threads: int | None = Field(None, ge=1, description="of the CPU; default: the worker's share")

    @field_validator("batch", "prompt_tokens", "new_tokens")
    @classmethod
    def _positive(cls, values: list[int]) -> list[int]:
        if min(values) < 1:
            raise ValueError("every number of the grid must be at least 1")
        return values


OWN = [
    Metric("latency", "s", "lower", "end to end: from the prompt's ids to the last new token", "p50"),
    Metric("latency.prefill", "s", "lower", "the prompt through the model", "p50"),
    Metric("ttft", "s", "lower", "to the first new token, chosen on the device", "p50"),
    Metric("tpot", "s/token", "lower", "(end to end - ttft) / (new tokens - 1)", "p50"),
    Metric(
        "tokens_per_second", "tokens/s", "higher",
        "rows x (new tokens - 1) / (end to end - ttft): decoding alone", "p50",
    ),
    Metric("mfu.prefill", "fraction", "higher", "achieved FLOP/s over the measured matmul peak", "p50"),
    Metric("mbu.decode", "ratio", "higher", "bytes that must move over the measured copy bandwidth", "p50"),
    Metric("lower_bound", "s", "lower", "end to end at full arithmetic or full bandwidth", "p50"),
    Metric("energy", "J/token", "lower", "of the counter's domain, per new token", "weighted_mean"),
    Metric("noise", "fraction", "lower", "1.4826 MAD / median of the rounds' latency", "noise"),
    Metric("outliers", "calls", "lower", "calls above the upper quartile by 3 IQR; they stay in", "outliers"),
    Metric("largest_batch", "rows", "higher", "the batch, or by halving the largest that fits", "exact"),
]  # fmt: skip
RATIOS = [
    Metric("speedup", "ratio", "higher", "teacher / student end to end, median of rounds", "median_ratio"),
    Metric("speedup.prefill", "ratio", "higher", "teacher / student of the prompt", "median_ratio"),
    Metric("speedup.decode", "ratio", "higher", "teacher / student of tpot", "median_ratio"),
]  # fmt: skip

RATIO_OF = {"speedup": "latency", "speedup.prefill": "latency.prefill", "speedup.decode": "tpot"}
NEEDS_TWO = ("tpot", "tokens_per_second", "mbu.decode")
"""Metrics of the tokens behind the first."""


@task("efficiency.text")
class EfficiencyText(PairTask):
    """Needs models that are loaded into this process; an end of text is not heeded."""

    version = 1
    about = "prefill, first token, time per token, throughput and speed-up of a pair, in turns"
    source = "kdbench; TPOT as vLLM's benchmark, MFU as Chowdhery et al. 2022 with a measured peak"
    timing = True
    Params = TextParams
    params: TextParams

    @classmethod
    def expand(cls, params: TextParams, folder: Path) -> list[Any]:
        cells = list(product(params.batch, params.prompt_tokens, params.new_tokens))
        return [
            params.model_copy(update={"batch": [b], "prompt_tokens": [p], "new_tokens": [n]})
            for b, p, n in most_informative(cells)
        ]

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import EFFICIENCY

        return EFFICIENCY

    @property
    def _cell(self) -> tuple[int, int, int]:
        return self.params.batch[0], self.params.prompt_tokens[0], self.params.new_tokens[0]

    @property
    def label(self) -> str:
        return "efficiency/text/b{}-p{}-n{}".format(*self._cell)

    def verbs(self) -> frozenset[str]:
        return frozenset({TIME_TEXT})

    def metrics(self) -> list[Metric]:
        tails = [
            Metric(f"latency.p{q}", "s", "lower", "of single calls end to end", f"p{q}")
            for q in self.params.percentiles
        ]
        return [*RATIOS, *for_roles([*OWN, *tails])]

    def protocol(self) -> dict[str, str]:
        asked, (batch, prompt, new) = self.params, self._cell
        graphs = asked.compile in ("reduce-overhead", "max-autotune")
        return {
            "shape": f"{batch} x ({prompt} + {new} tokens), end of text ignored",
            "tpot": "(e2e-ttft)/(n-1)",
            "rounds": f"{asked.rounds} interleaved, {asked.min_seconds:g} s at least",
            "warm_up": "at the shape until stable",
            "attention": asked.attention or "as loaded",
            "compile": asked.compile + (" (CUDA graphs)" if graphs else ""),
            "cache": asked.cache,
            "flops": "multiply-add = 2",
            **({"threads": str(asked.threads)} if asked.threads else {}),
        }

    def data_fingerprint(self) -> str:
        return "random tokens, by the seed"

    def items(self, limit: int | None) -> list[Item]:
        return round_items(self.label, self.params.rounds, limit)

    def predict(self, models: Sequence[Any], items: Sequence[Item], context: Context) -> float:
        """From short runs at the very shape; where they can't be, nothing will be measured either."""
        from kdbench.models.timing import Subject, repeats_for, timed
        from kdbench.models.timing.text_run import END, FIRST_TOKEN, out_of_memory

        shape, rounds, total = self._shape(), self.params.rounds, 0.0
        short = min(shape.new_tokens, PILOT_TOKENS)
        for model in models:
            try:
                with model.time_text(shape, context.seed, self._how()) as run:
                    pilot = Subject("pilot", partial(run, new_tokens=short))
                    timed(pilot, run.clock)
                    marks = timed(pilot, run.clock)
                    run.work()
                    run.ceilings()  # both are remembered, so the measurement finds them
            except (ModelError, RuntimeError, MemoryError) as error:
                if isinstance(error, ModelError) or out_of_memory(error):
                    return 0.0
                raise
            step = (marks[END] - marks[FIRST_TOKEN]) / max(1, short - 1)
            call = marks[FIRST_TOKEN] + step * (shape.new_tokens - 1)
            repeats = repeats_for(call, rounds, self.params.min_seconds)
            total += call * (WARM_CALLS + repeats * len(items))
        return total

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        from kdbench.models.timing.text_run import out_of_memory

        models = {"teacher": teacher, "student": student}
        try:
            return self._timed(models, items, context)
        except ModelError as error:
            return self._without(items, " ".join(str(error).split()), {})
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        # outside the handler: the error's traceback would keep the run's tensors alive
        fits = {name: self._largest(model, context) for name, model in models.items()}
        told = ", ".join(f"{count} of the {name}" for name, count in fits.items())
        reason = f"{self._cell[0]} rows do not fit into memory; by halving the largest are {told}"
        scores = {f"largest_batch.{name}": count for name, count in fits.items()}
        return self._without(items, reason, scores)

    def _timed(
        self, models: dict[str, Any], items: Sequence[Item], context: Context
    ) -> list[Sample]:
        from kdbench.models.timing import Subject
        from kdbench.tasks.efficiency import pair_timing

        with ExitStack() as stack:
            runs = {}
            for name, model in models.items():
                try:
                    run = model.time_text(self._shape(), context.seed, self._how())
                    runs[name] = stack.enter_context(run)
                except ModelError as error:
                    raise ModelError(f"{name}: {error}") from error
            devices = {run.device for run in runs.values()}
            if len(devices) > 1:
                raise ModelError(
                    f"teacher and student lie on {' and '.join(sorted(devices))}; a speed-up is timed on "
                    "one device"
                )
            subjects = [Subject(name, run) for name, run in runs.items()]
            timed = pair_timing.time_pair(
                subjects, runs["teacher"].clock, runs["teacher"].device, items, context.seed,
                self.params.rounds, self.params.min_seconds,
            )  # fmt: skip
            work = {name: run.work() for name, run in runs.items()}
            most = {name: run.ceilings() for name, run in runs.items()}
        return _samples(items, timed, self.params, self._shape(), work, most)

    def _largest(self, model: Any, context: Context) -> int:
        """The largest batch that runs, found by halving; 0 where not even one row does."""
        from kdbench.models.timing.text_run import out_of_memory

        batch = self._cell[0]
        while batch > 0:
            if _runs(model, self._shape(batch), context.seed, self._how(), out_of_memory):
                return batch
            batch //= 2
        return 0

    def _without(self, items: Sequence[Item], reason: str, scores: dict[str, int]) -> list[Sample]:
        """Samples of a shape that can't be timed: the reason, and what is known all the same."""
        skipped = {one.name: reason for one in self.metrics() if one.name not in scores}
        extra = {"skipped": skipped}
        return [Sample(i.id, i.index, i.cluster, dict(scores), extra=extra) for i in items]

    def _shape(self, batch: int | None = None) -> TextShape:
        from kdbench.models.timing.text_run import TextShape

        rows, prompt, new = self._cell
        return TextShape(batch or rows, prompt, new)

    def _how(self) -> Execution:
        from kdbench.models.timing.text_run import Execution

        asked = self.params
        return Execution(asked.attention, asked.compile, asked.cache, asked.threads)


def _runs(
    model: Any, shape: TextShape, seed: int, how: Execution, out_of_memory: Callable[..., bool]
) -> bool:
    gc.collect()
    try:
        with model.time_text(shape, seed, how) as run:
            run(lambda: None)
            run.clock.settle()
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            return False
        raise
    return True


def _samples(
    items: Sequence[Item],
    timed: Timed,
    params: TextParams,
    shape: TextShape,
    work: dict[str, TextWork],
    most: dict[str, Ceilings],
) -> list[Sample]:
    from kdbench.tasks.efficiency import pair_timing

    few = pair_timing.unsupported_percentiles(params.percentiles, params.rounds, timed.repeats)
    skipped = {**few, **pair_timing.energy_skipped(timed)}
    if shape.new_tokens == 1:
        rates = for_roles([one for one in OWN if one.name in NEEDS_TWO])
        names = [*(one.name for one in rates), "speedup.decode"]
        skipped |= dict.fromkeys(names, "one new token has none after the first")
    tokens = shape.batch * shape.new_tokens
    found = []
    for item, one in zip(items, timed.rounds, strict=True):
        scores: dict[str, Any] = {}
        roofline = {}
        for name in timed.repeats:
            own, roofline[name] = _of_model(one, name, shape, work[name], most[name])
            scores |= own | pair_timing.energy_scores(one, name, tokens)
            for q in params.percentiles:
                if f"latency.p{q}.{name}" not in few:
                    scores[f"latency.p{q}.{name}"] = own[f"outliers.{name}"]
        for ratio, base in RATIO_OF.items():
            if f"{base}.teacher" in scores:
                scores[ratio] = [scores[f"{base}.teacher"], scores[f"{base}.student"]]
        more = {"roofline": roofline}
        found.append(pair_timing.sample_of(item, one, scores, timed, skipped, more))
    return found


def _of_model(
    one: Round, name: str, shape: TextShape, work: TextWork, most: Ceilings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model's scores of a round, and its two phases against the machine's ceilings."""
    from kdbench.models.timing.text_run import END, FIRST_TOKEN, PREFILL
    from kdbench.tasks.efficiency import pair_timing

    prefill, first, end = (one.seconds(name, mark) for mark in (PREFILL, FIRST_TOKEN, END))
    calls = [call[END] for call in one.calls[name]]
    phases = {"prefill": pair_timing.against_ceilings(work.prefill, prefill, most)}
    scores: dict[str, Any] = {
        f"latency.{name}": end,
        f"latency.prefill.{name}": prefill,
        f"ttft.{name}": first,
        f"noise.{name}": end,
        f"outliers.{name}": calls,
        f"mfu.prefill.{name}": phases["prefill"]["mfu"],
        f"lower_bound.{name}": phases["prefill"]["lower_bound"],
        f"largest_batch.{name}": shape.batch,
    }
    if shape.new_tokens > 1:
        steps = shape.new_tokens - 1
        phases["decode"] = pair_timing.against_ceilings(work.decode, end - first, most)
        scores[f"tpot.{name}"] = (end - first) / steps
        scores[f"tokens_per_second.{name}"] = shape.batch * steps / (end - first)
        scores[f"mbu.decode.{name}"] = phases["decode"]["mbu"]
        scores[f"lower_bound.{name}"] += phases["decode"]["lower_bound"]
    ceilings = {"flops": most.flops, "bandwidth": most.bandwidth}
    seconds = {"prefill": prefill, "decode": end - first}
    return scores, {"phases": phases, "seconds": seconds, "ceilings": ceilings}
