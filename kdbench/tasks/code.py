"""The code family: programs that models write, run against the problems' own tests in a sandbox.

Prompts are lm-eval's; several programs are drawn for each problem, each with a seed of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from kdbench.errors import TaskError
from kdbench.metrics.sampling import pass_at_k
from kdbench.models.adapter import Download
from kdbench.models.protocols import Generated
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks import code_problems
from kdbench.tasks.lmeval import yamls
from kdbench.tasks.reasoning import Reasoning, ReasoningParams
from kdbench.tasks.sampled import check_draws, drawn
from kdbench.tasks.sandbox.runs import Limits, Verdict, judge
from kdbench.tasks.sandbox.walls import require_walls
from kdbench.tasks.task import CODE_NOT_ALLOWED, Context, Item, Metric, ModelTask, TaskParams

KEPT = 4000
"""Characters of each answer that are kept, from its beginning."""


class CodeParams(TaskParams):
    """`problems` names the set, `file` where it lies (the hub's where none is named)."""

    problems: Literal["humaneval", "mbpp"] = Field(description="the set of problems")
    file: str | None = Field(None, description="problems as JSON lines, in the set's own format")
    name: str | None = Field(None, description="the name that rows carry, in place of the set's")
    num_fewshot: int | None = Field(None, ge=0, description="shots; the task's own where not given")
    apply_chat_template: bool = Field(
        False, description="ask through the model's chat template, in lm-eval's words for it"
    )
    samples: int = Field(1, ge=1, description="programs drawn for each problem")
    k: list[int] = Field([1], min_length=1, description="the k of pass@k; at most `samples`")
    temperature: float = Field(0.0, ge=0, description="0 is greedy")
    top_p: float = Field(0.95, gt=0, le=1, description="nucleus")
    max_new_tokens: int | None = Field(None, ge=1, description="default: what the task says")
    cpu_seconds: int = Field(5, ge=1, description="processor time of one program with its tests")
    memory_mb: int = Field(1024, ge=128, description="memory of one program (MiB)")

    @model_validator(mode="after")
    def _fits(self) -> CodeParams:
        check_draws(self.samples, self.k, self.temperature)
        return self


@task("code")
class Code(ModelTask):
    """Functional correctness. Generated programs run only where `Context.allow_code_execution` says so."""

    version = 1
    about = "pass@k of generated programs (HumanEval, MBPP), run in a sandbox"
    source = "prompts by lm-eval 0.4.13, tests by the data sets, pass@k by Chen et al. 2021"
    Params = CodeParams
    shorthand = "problems"
    executes_code = True
    params: CodeParams

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return _metrics([1])

    @cached_property
    def _asked(self) -> Reasoning:
        """lm-eval's way of asking, as a task that a recipe defines in place."""
        params = self.params
        config = code_problems.recipe(params.problems, params.apply_chat_template, params.file)
        asked = ReasoningParams(
            lm_eval=f"code::{params.problems}",
            overrides=yamls.to_json(config),
            num_fewshot=params.num_fewshot,
            apply_chat_template=params.apply_chat_template,
        )
        return Reasoning(asked, self.folder)

    @property
    def label(self) -> str:
        return f"code/{self.params.name or self.params.problems}"

    def identity(self) -> dict[str, Any]:
        return {"problems": self.params.problems, "k": self.params.k}

    def verbs(self) -> frozenset[str]:
        return self._asked.verbs()

    def metrics(self) -> list[Metric]:
        return _metrics(self.params.k)

    def protocol(self) -> dict[str, str]:
        asked = self.params
        parts = {k: v for k, v in self._asked.protocol().items() if k != "generation"}
        how = f"temperature={asked.temperature:g}"
        if asked.temperature:
            how += f", top_p={asked.top_p:g}"
        limits = self._limits
        return {
            **parts,
            "task": asked.problems,
            "samples": str(asked.samples),
            "sampling": f"{how}, max_new_tokens={asked.max_new_tokens or 'task'}",
            "limits": f"{limits.cpu_seconds} s of processor, {limits.wall_seconds:g} s, "
            f"{limits.memory_mb} MiB",
            "answer": "own process, standard library",
        }

    def data_fingerprint(self) -> str:
        if self.params.file is not None:
            code_problems.check_file(self.params.problems, self.folder / self.params.file)
        return self._asked.data_fingerprint()

    def downloads(self) -> list[Download]:
        return self._asked.downloads()

    def fetch(self) -> None:
        self._asked.fetch()

    def items(self, limit: int | None) -> list[Item]:
        """Raises `TaskError` where a problem can't be read, or no sandbox can be had: before any
        model is loaded."""
        require_walls()
        items = self._asked.items(limit)
        for item in items:
            where = f"{self.label}, document {item.index}"
            code_problems.check(self.params.problems, item.payload.document, where)
        return items

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        if not context.allow_code_execution:
            raise TaskError(f"{self.label} {CODE_NOT_ALLOWED}")
        n, params = self.params.samples, self.params
        prompts = [
            drawn(model, item, params, context.sample_seed(f"{item.id}/{number}"))
            for item in items
            for number in range(n)
        ]
        answers = model.generate_text(prompts)
        programs = [
            code_problems.program(
                params.problems, params.apply_chat_template,
                items[place // n].payload.document, answer.text,
            )
            for place, answer in enumerate(answers)
        ]  # fmt: skip
        verdicts = judge(programs, self._limits)
        return [
            self._sample(
                item,
                prompts[i * n].text,
                answers[i * n : (i + 1) * n],
                verdicts[i * n : (i + 1) * n],
            )
            for i, item in enumerate(items)
        ]

    @property
    def _limits(self) -> Limits:
        cpu = self.params.cpu_seconds
        return Limits(cpu_seconds=cpu, wall_seconds=3.0 * cpu, memory_mb=self.params.memory_mb)

    def _sample(
        self, item: Item, prompt: str, answers: Sequence[Generated], verdicts: Sequence[Verdict]
    ) -> Sample:
        n, tokens = len(answers), [answer.tokens for answer in answers]
        right = [verdict.passed for verdict in verdicts]
        own = [spent for spent, is_right in zip(tokens, right, strict=True) if is_right]
        scores: dict[str, Any] = {f"pass@{k}": pass_at_k(n, sum(right), k) for k in self.params.k}
        scores |= {
            "compile_rate": sum(verdict.compiled for verdict in verdicts) / n,
            "timeout_rate": sum(verdict.kind == "timeout" for verdict in verdicts) / n,
            "tokens": sum(tokens) / n,
            "truncation_rate": sum(answer.finish == "length" for answer in answers) / n,
        }
        if own:
            scores["tokens_right"] = [sum(own), len(own)]
        extra: dict[str, Any] = {
            "verdicts": [[verdict.kind, verdict.why] for verdict in verdicts],
            "right": [int(is_right) for is_right in right],
            "tokens": tokens,
            "finish": [answer.finish for answer in answers],
            "outputs": [answer.text[:KEPT] for answer in answers[1:]],
        }
        if not own:
            extra["skipped"] = {"tokens_right": "no program is right"}
        return Sample(
            item.id, item.index, item.cluster, scores, prompt, str(item.payload.target),
            answers[0].text, {}, extra,
        )  # fmt: skip


def _metrics(ks: Sequence[int]) -> list[Metric]:
    found = [
        Metric(
            f"pass@{k}", "fraction", "higher", f"problems solved by at least one of {k} programs"
        )
        for k in ks
    ]
    return [
        *found,
        Metric("compile_rate", "fraction", "higher", "programs that compile"),
        Metric("timeout_rate", "fraction", "lower", "programs stopped by a limit of time"),
        Metric("tokens", "tokens", "lower", "tokens generated per program"),
        Metric(
            "tokens_right", "tokens", "lower", "tokens generated per right program", "weighted_mean"
        ),
        Metric("truncation_rate", "fraction", "lower", "programs cut off by the limit of tokens"),
    ]
