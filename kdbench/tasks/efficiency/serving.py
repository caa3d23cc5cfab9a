"""`efficiency.serving`: two endpoints under the same load, in turns.

Each load (so many requests at once, or so many a second) is a task of its own. A round is a whole load on one
endpoint and then on the other, so that a drift of machine or network falls on both; teacher and student must
both be served while the suite runs. Timings of two runs are never divided by each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from kdbench.models.protocols import STREAM_TEXT
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.efficiency.grid import most_informative
from kdbench.tasks.efficiency.roles import for_roles, round_items
from kdbench.tasks.task import Context, Item, Metric, PairTask, Prediction, TaskParams

if TYPE_CHECKING:
    from kdbench.models.timing.serving_run import Load
    from kdbench.tasks.panel import Panel

LEAST_REQUESTS = 16
"""Requests of a round where a suite does not say, or four for each client if that is more."""


class ServingParams(TaskParams):
    """Loads: each number of clients, and each rate."""

    concurrency: list[int] = Field(
        [], description="closed load: clients that each wait for their answer before they ask again"
    )
    rate: list[float] = Field(
        [], description="open load: requests a second, at the times of a Poisson process"
    )
    prompt_tokens: int = Field(128, ge=1, description="of each prompt, by the server's count")
    new_tokens: int = Field(64, ge=2, description="generated for each request")
    requests: int | None = Field(
        None, ge=2, description="in a round; default: 16, or 4 for each client if that is more"
    )
    rounds: int = Field(8, ge=6, le=1000, description="of teacher and student in turns")
    max_ttft: float | None = Field(
        None, gt=0, description="service level: seconds to the first token"
    )
    max_tpot: float | None = Field(
        None, gt=0, description="service level: seconds a token behind it"
    )
    end_of_text: Literal["ignore_eos", "min_tokens", "heed"] = Field(
        "ignore_eos",
        description="how answers get their length: ignore_eos (vLLM, SGLang, llama.cpp), min_tokens (vLLM), "
        "or heed, where they may be shorter",
    )
    percentiles: list[Literal[90, 95, 99]] = Field(
        [], description="of single requests; refused where too few were sent to carry them"
    )

    @field_validator("concurrency", "rate")
    @classmethod
    def _positive(cls, values: list[Any]) -> list[Any]:
        if any(value <= 0 for value in values):
            raise ValueError("every load must be above 0")
        return values

    @model_validator(mode="after")
    def _fits(self) -> ServingParams:
        if not self.concurrency and not self.rate:
            raise ValueError(
                "a load is missing: name `concurrency: [1, 4]`, `rate: [2.0]`, or both"
            )
        most = max(self.concurrency, default=0)
        if self.requests is not None and self.requests < most:
            raise ValueError(
                f"requests: {self.requests} are fewer than the {most} clients that send them at once"
            )
        return self


OWN = [
    Metric("ttft", "s", "lower", "to the first chunk of text; median request of a round", "p50"),
    Metric("tpot", "s/token", "lower", "(end to end - ttft) / (tokens - 1); median request", "p50"),
    Metric("latency", "s", "lower", "end to end, to the last chunk; median request", "p50"),
    Metric("chunk_gap", "s", "lower", "between chunks that follow each other; median of a round", "p50"),
    Metric("output_tokens_per_second", "tokens/s", "higher", "all answers' tokens over the round", "p50"),
    Metric("requests_per_second", "requests/s", "higher", "answered requests over the round", "p50"),
    Metric("failures", "fraction", "lower", "requests without a whole answer; none is sent again", "share"),
    Metric("early_stops", "fraction", "lower", "answers shorter than was asked for", "share"),
    Metric("prompt_tokens", "tokens", "lower", "by the server's count; median request", "p50"),
]  # fmt: skip
GOODPUT = [
    Metric("goodput", "requests/s", "higher", "answered within the service level, over the round", "p50"),
    Metric("attainment", "fraction", "higher", "of all requests, those within the service level", "share"),
]  # fmt: skip
RATIOS = [
    Metric("speedup", "ratio", "higher", "teacher / student end to end, median of rounds", "median_ratio"),
    Metric("speedup.ttft", "ratio", "higher", "teacher / student to the first token", "median_ratio"),
    Metric("speedup.tpot", "ratio", "higher", "teacher / student per further token", "median_ratio"),
    Metric("speedup.throughput", "ratio", "higher", "student / teacher in output tokens/s", "median_ratio"),
]  # fmt: skip
CLIENT = [
    Metric("client.request", "s", "lower", "the client's own part of a ttft, at most", "p50"),
    Metric(
        "client.chunk", "s", "lower", "the client's own part of a further chunk, at most", "p50"
    ),
]


@task("efficiency.serving")
class EfficiencyServing(PairTask):
    """Needs both endpoints to be up; what they run on is as the suite says (`hardware`)."""

    version = 1
    about = (
        "first token, time per token, throughput and goodput of two endpoints under load, in turns"
    )
    source = "kdbench; TPOT as vLLM's benchmark, goodput as DistServe (Zhong et al. 2024)"
    timing = True
    headlines = ("speedup", "goodput.student")
    Params = ServingParams
    params: ServingParams

    @classmethod
    def expand(cls, params: ServingParams, folder: Path) -> list[Any]:
        clients = most_informative([(one,) for one in params.concurrency])
        loads: list[dict[str, Any]] = [{"concurrency": [one], "rate": []} for (one,) in clients]
        loads += [{"concurrency": [], "rate": [one]} for one in dict.fromkeys(params.rate)]
        return [params.model_copy(update=one) for one in loads]

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        given = ServingParams(concurrency=[1], max_ttft=1.0)
        return cls(given, Path()).metrics()

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import SERVING

        return SERVING

    @property
    def _requests(self) -> int:
        clients = self.params.concurrency[0] if self.params.concurrency else 1
        return self.params.requests or max(LEAST_REQUESTS, 4 * clients)

    @property
    def label(self) -> str:
        asked = self.params
        load = f"c{asked.concurrency[0]}" if asked.concurrency else f"r{asked.rate[0]:g}"
        return f"efficiency/serving/{load}-p{asked.prompt_tokens}-n{asked.new_tokens}"

    def verbs(self) -> frozenset[str]:
        return frozenset({STREAM_TEXT})

    def metrics(self) -> list[Metric]:
        asked = self.params
        goodput = GOODPUT if asked.max_ttft or asked.max_tpot else []
        tails = [
            Metric(
                f"{name}.p{q}", unit, "lower", "of single requests of all rounds", f"pooled_p{q}"
            )
            for q in asked.percentiles
            for name, unit in (("ttft", "s"), ("tpot", "s/token"), ("latency", "s"))
        ]
        return [*RATIOS, *for_roles([*OWN, *goodput, *tails]), *CLIENT]

    def protocol(self) -> dict[str, str]:
        asked = self.params
        since = "a request is sent"
        if asked.concurrency:
            load = f"closed, {asked.concurrency[0]} clients"
        else:
            load, since = f"open, Poisson, {asked.rate[0]:g}/s", "a request is due, sent or not"
        level = [
            f"{name} <= {limit:g} s"
            for name, limit in (("ttft", asked.max_ttft), ("tpot", asked.max_tpot))
            if limit
        ]
        return {
            "load": load,
            "shape": f"{self._requests} x ({asked.prompt_tokens} + {asked.new_tokens} tokens)",
            "end_of_text": asked.end_of_text,
            "latency": f"from when {since}",
            "tpot": "(e2e-ttft)/(n-1)",
            "tokens": "server's usage, else chunks",
            "prompts": "random words, none twice",
            "rounds": f"{asked.rounds} interleaved",
            "warm_up": "bursts until stable",
            **({"service_level": " and ".join(level)} if level else {}),
        }

    def data_fingerprint(self) -> str:
        return "random words"

    def items(self, limit: int | None) -> list[Item]:
        return round_items(self.label, self.params.rounds, limit)

    def predict(
        self, models: Mapping[str, Any], items: Sequence[Item], context: Context
    ) -> Prediction:
        """From one whole load on each endpoint; a warm-up takes about as long."""
        from kdbench.errors import ModelError
        from kdbench.models.timing.serving_run import open_run

        try:
            with open_run(models, self._load(), context.seed) as run:
                run.check()
                load = sum(run.once(name, -1).seconds for name in models)
        except ModelError:  # told where it is measured
            return Prediction()
        return Prediction(load * len(items), load)

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        from kdbench.models.timing.serving_run import open_run
        from kdbench.tasks.efficiency.serving_scores import samples

        models = {"teacher": teacher, "student": student}
        with open_run(models, self._load(), context.seed) as run:
            return samples(run, items, self.params, models)

    def _load(self) -> Load:
        from kdbench.models.timing.serving_run import Load

        asked = self.params
        return Load(
            self._requests,
            asked.concurrency[0] if asked.concurrency else None,
            asked.rate[0] if asked.rate else None,
            asked.prompt_tokens,
            asked.new_tokens,
            asked.end_of_text,
        )
