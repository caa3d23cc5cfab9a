"""`efficiency.text`: a pair generating text, teacher and student in turns, over a grid of shapes.

Each shape (rows x prompt tokens x new tokens) is a task of its own, so that one that fails, or that a budget
leaves out, costs no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from kdbench.models.protocols import TIME_TEXT
from kdbench.models.timing.compiled import WITH_GRAPHS, Mode
from kdbench.registry import task
from kdbench.tasks.efficiency.grid import most_informative
from kdbench.tasks.efficiency.turns import SPREAD, Trial, TurnsParams, TurnsTask
from kdbench.tasks.task import Context, Metric

if TYPE_CHECKING:
    from kdbench.metrics.roofline import Ceilings
    from kdbench.models.timing import Round
    from kdbench.models.timing.compiled import Compiled
    from kdbench.models.timing.text_run import Execution, TextRun, TextShape, TextWork
    from kdbench.tasks.panel import Panel

PILOT_TOKENS = 6
"""New tokens of the runs that a prediction rests on."""

PILOT_CALLS = 3


class TextParams(TurnsParams):
    """A grid: every batch with every prompt with every number of new tokens."""

    batch: list[int] = Field([1], min_length=1, description="rows generated together")
    prompt_tokens: list[int] = Field([128], min_length=1, description="tokens of each prompt")
    new_tokens: list[int] = Field([32], min_length=1, description="tokens generated for each row")
    attention: str | None = Field(None, description="eager, sdpa, ...; default: as loaded")
    compile: Mode = Field(
        "none", description="torch.compile's mode; reduce-overhead uses CUDA graphs"
    )
    cache: Literal["dynamic", "static"] = Field(
        "dynamic", description="how keys and values are kept"
    )
    threads: int | None = Field(None, ge=1, description="of the CPU; default: the worker's share")

    @model_validator(mode="after")
    def _graphs_replay(self) -> TextParams:
        if self.compile in WITH_GRAPHS and self.cache != "static":
            raise ValueError(
                f"compile: {self.compile} records CUDA graphs, which are replayed in the same memory; write "
                "cache: static beside it"
            )
        return self

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
    *SPREAD,
    Metric("largest_batch", "rows", "higher", "the batch, or by halving the largest that fits", "exact"),
]  # fmt: skip
COMPILE_TIME = Metric(
    "compile_time",
    "s",
    "lower",
    "first calls above later ones, with nothing compiled before",
    "p50",
)
RATIOS = {
    "speedup": ("latency", "teacher / student end to end, median of rounds"),
    "speedup.prefill": ("latency.prefill", "teacher / student of the prompt"),
    "speedup.decode": ("tpot", "teacher / student of tpot"),
}


@task("efficiency.text")
class EfficiencyText(TurnsTask):
    """Needs models that are loaded into this process; an end of text is not heeded."""

    version = 1
    about = "prefill, first token, time per token, throughput and speed-up of a pair, in turns"
    source = "kdbench; TPOT as vLLM's benchmark, MFU as Chowdhery et al. 2022 with a measured peak"
    Params = TextParams
    units, fits = "rows", "largest_batch"
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

    def own(self) -> Sequence[Metric]:
        return OWN if self.params.compile == "none" else [*OWN, COMPILE_TIME]

    def ratios(self) -> Mapping[str, tuple[Metric, str]]:
        return {
            name: (Metric(name, "ratio", "higher", about, "median_ratio"), base)
            for name, (base, about) in RATIOS.items()
        }

    def protocol(self) -> dict[str, str]:
        asked, (batch, prompt, new) = self.params, self._cell
        graphs = asked.compile in WITH_GRAPHS
        compiled = "compiled, then " if asked.compile != "none" else ""
        return {
            "shape": f"{batch} x ({prompt} + {new} tokens), end of text ignored",
            "tpot": "(e2e-ttft)/(n-1)",
            "rounds": f"{asked.rounds} interleaved, {asked.min_seconds:g} s at least",
            "warm_up": f"{compiled}at the shape until stable",
            "attention": asked.attention or "as loaded",
            "compile": asked.compile + (" (CUDA graphs)" if graphs else ""),
            "cache": asked.cache,
            "flops": "multiply-add = 2",
            **({"threads": str(asked.threads)} if asked.threads else {}),
        }

    def data_fingerprint(self) -> str:
        return "random tokens, by the seed"

    def open_run(self, model: Any, context: Context, batch: int) -> AbstractContextManager[TextRun]:
        run: AbstractContextManager[TextRun] = model.time_text(
            self._shape(batch), context.seed, self._how()
        )
        return run

    def batch_of(self, model: Any, context: Context) -> int:
        return self._cell[0]

    def tried(self, model: Any, context: Context) -> Trial:
        """From short runs at the very shape."""
        from kdbench.models.timing import Subject, timed
        from kdbench.models.timing.text_run import END, FIRST_TOKEN

        new_tokens = self._cell[2]
        short = min(new_tokens, PILOT_TOKENS)
        with self.open_run(model, context, self._cell[0]) as run:
            compiled = _compiled(run)
            pilot = Subject("pilot", partial(run, new_tokens=short))
            first = timed(pilot, run.clock)
            calls = [timed(pilot, run.clock) for _ in range(PILOT_CALLS)]
            marks = [median(times) for times in zip(*calls, strict=True)]
            run.work()
            run.ceilings()  # both are remembered, so the measurement finds them
        step = (marks[END] - marks[FIRST_TOKEN]) / max(1, short - 1)
        call = marks[FIRST_TOKEN] + step * (new_tokens - 1)
        spent = (compiled.seconds if compiled else None) or 0.0
        return Trial(call, max(0.0, first[END] - marks[END]) + spent)

    def check(self, run: TextRun) -> None:
        compiled = _compiled(run)
        if compiled is not None:
            compiled.check()

    def produced(self, run: TextRun) -> int:
        _, _, new_tokens = self._cell
        return self._cell[0] * new_tokens

    def absent(self, names: Sequence[str]) -> dict[str, str]:
        why = {
            name: "it runs graphs that were compiled for the other model" for name in names
            if name.startswith(COMPILE_TIME.name)
        }  # fmt: skip
        return dict.fromkeys(names, "one new token has none after the first") | why

    def of_model(
        self, one: Round, name: str, run: TextRun, work: TextWork, most: Ceilings
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        from kdbench.models.timing.text_run import END, FIRST_TOKEN, PREFILL
        from kdbench.tasks.efficiency import pair_timing

        batch, _, new_tokens = self._cell
        prefill, first, end = (one.seconds(name, mark) for mark in (PREFILL, FIRST_TOKEN, END))
        phases = {"prefill": pair_timing.against_ceilings(work.prefill, prefill, most)}
        scores: dict[str, Any] = {
            "latency": end,
            "latency.prefill": prefill,
            "ttft": first,
            "noise": end,
            "outliers": [call[END] for call in one.calls[name]],
            "mfu.prefill": phases["prefill"]["mfu"],
            "lower_bound": phases["prefill"]["lower_bound"],
            "largest_batch": batch,
        }
        compiled = _compiled(run)
        if compiled is not None and compiled.seconds is not None:
            scores["compile_time"] = compiled.seconds
        if new_tokens > 1:
            steps = new_tokens - 1
            phases["decode"] = pair_timing.against_ceilings(work.decode, end - first, most)
            scores["tpot"] = (end - first) / steps
            scores["tokens_per_second"] = batch * steps / (end - first)
            scores["mbu.decode"] = phases["decode"]["mbu"]
            scores["lower_bound"] += phases["decode"]["lower_bound"]
        ceilings = {"flops": most.flops, "bandwidth": most.bandwidth}
        seconds = {"prefill": prefill, "decode": end - first}
        return scores, {"phases": phases, "seconds": seconds, "ceilings": ceilings}

    def _shape(self, batch: int) -> TextShape:
        from kdbench.models.timing.text_run import TextShape

        _, prompt, new = self._cell
        return TextShape(batch, prompt, new)

    def _how(self) -> Execution:
        from kdbench.models.timing.text_run import Execution

        asked = self.params
        return Execution(asked.attention, asked.compile, asked.cache, asked.threads)


def _compiled(run: Any) -> Compiled | None:
    """What of a run is compiled; runs of one's own need not know of it."""
    found: Compiled | None = getattr(run, "compiled", None)
    return found
