"""The sampled family: several answers to each problem, judged by what they mean, and what they cost.

Reasoning models are judged by accuracy and by the tokens that they spend on it. Prompts and right answers
are those of an lm-eval task; answers are drawn, each with a seed of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from kdbench.errors import TaskError
from kdbench.metrics.sampling import majority, pass_at_k
from kdbench.models.adapter import Download
from kdbench.models.protocols import Generated, Prompt
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks import math_answers
from kdbench.tasks.reasoning import Reasoning, ReasoningParams
from kdbench.tasks.task import Context, Item, Metric, ModelTask

if TYPE_CHECKING:
    from kdbench.tasks.panel import Panel

KEPT = 400
"""Characters of each further answer that are kept, from its end."""


def check_draws(samples: int, ks: Sequence[int], temperature: float) -> None:
    """Raise ValueError for a k that so many samples can't carry, and for samples that are all the same."""
    if any(not 1 <= k <= samples for k in ks):
        raise ValueError(f"k must lie within 1 and samples ({samples}), got {list(ks)}")
    if temperature == 0 and samples > 1:
        raise ValueError("at temperature 0 all samples are the same: set samples: 1")


class SampledParams(ReasoningParams):
    """`lm_eval` names the task that prompts and right answers come from."""

    samples: int = Field(8, ge=1, description="answers drawn for each problem")
    k: list[int] = Field([1], min_length=1, description="the k of pass@k; at most `samples`")
    answer: Literal["math", "text"] = Field(
        "math", description="how answers are read: as mathematics, or as the text itself"
    )
    temperature: float = Field(0.6, ge=0, description="0 is greedy")
    top_p: float = Field(0.95, gt=0, le=1, description="nucleus")
    max_new_tokens: int | None = Field(None, ge=1, description="default: what the task says")

    @model_validator(mode="after")
    def _fits(self) -> SampledParams:
        check_draws(self.samples, self.k, self.temperature)
        return self


@task("sampled")
class Sampled(ModelTask):
    """Needs a task of lm-eval whose answers are generated."""

    version = 1
    about = "pass@k, majority vote and tokens spent, over several answers to each problem"
    source = "kdbench; prompts by lm-eval, equality by math-verify, pass@k by Chen et al. 2021"
    Params = SampledParams
    shorthand = "lm_eval"
    params: SampledParams

    @cached_property
    def _asked(self) -> Reasoning:
        names = ReasoningParams.model_fields
        own = {name: getattr(self.params, name) for name in names}
        return Reasoning(ReasoningParams(**own), self.folder)

    @classmethod
    def expand(cls, params: SampledParams, folder: Path) -> list[Any]:
        return [
            params.model_copy(update=one.model_dump(include=set(ReasoningParams.model_fields)))
            for one in Reasoning.expand(params, folder)
        ]

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return _metrics(8, [1])

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import SAMPLED

        return SAMPLED

    @property
    def label(self) -> str:
        return self._asked.label.replace("reasoning/", "sampled/", 1)

    @property
    def group(self) -> str | None:
        group = self._asked.group
        return group.replace("reasoning/", "sampled/", 1) if group else None

    def identity(self) -> dict[str, Any]:
        return {**self._asked.identity(), "k": self.params.k}

    def verbs(self) -> frozenset[str]:
        if self._asked._config.get("output_type", "generate_until") != "generate_until":
            raise TaskError(f"{self.label}: the task scores texts; sampled ones are generated")
        return self._asked.verbs()

    def metrics(self) -> list[Metric]:
        return _metrics(self.params.samples, self.params.k)

    def protocol(self) -> dict[str, str]:
        asked = self.params
        parts = {k: v for k, v in self._asked.protocol().items() if k != "generation"}
        how = f"temperature={asked.temperature:g}, top_p={asked.top_p:g}"
        return {
            **parts,
            "samples": str(asked.samples),
            "sampling": f"{how}, max_new_tokens={asked.max_new_tokens or 'task'}",
            "answer": "math-verify" if asked.answer == "math" else "text",
        }

    def data_fingerprint(self) -> str:
        return self._asked.data_fingerprint()

    def downloads(self) -> list[Download]:
        return self._asked.downloads()

    def fetch(self) -> None:
        self._asked.fetch()

    def items(self, limit: int | None) -> list[Item]:
        return self._asked.items(limit)

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        prompts = [
            drawn(model, item, self.params, context.sample_seed(f"{item.id}/{number}"))
            for item in items
            for number in range(self.params.samples)
        ]
        answers = model.generate_text(prompts)
        n = self.params.samples
        return [
            self._sample(item, prompts[i * n].text, answers[i * n : (i + 1) * n])
            for i, item in enumerate(items)
        ]

    def _sample(self, item: Item, prompt: str, answers: Sequence[Generated]) -> Sample:
        target = str(item.payload.target)
        read, same, gold = _reader(self.params.answer, target)
        found = [read(answer.text) for answer in answers]
        right = [one is not None and same(gold, one) for one in found]
        n, count = len(answers), sum(right)
        voted = majority(found, same)
        tokens = [answer.tokens for answer in answers]
        own = [spent for spent, is_right in zip(tokens, right, strict=True) if is_right]
        scores: dict[str, Any] = {f"pass@{k}": pass_at_k(n, count, k) for k in self.params.k}
        scores |= {
            f"avg@{n}": count / n,
            f"maj@{n}": float(voted is not None and same(gold, voted)),
            "tokens": sum(tokens) / n,
            "extraction_rate": sum(one is not None for one in found) / n,
            "truncation_rate": sum(answer.finish == "length" for answer in answers) / n,
        }
        if own:
            scores["tokens_right"] = [sum(own), len(own)]
        tags = {}
        if self.params.category:
            from kdbench.tasks.lmeval.documents import field_of

            one = item.payload
            tags["category"] = str(
                field_of(one.document, self.params.category, self.label, one.index)
            )
        extra: dict[str, Any] = {
            "right": [int(is_right) for is_right in right],
            "tokens": tokens,
            "finish": [answer.finish for answer in answers],
            "outputs": [answer.text[-KEPT:] for answer in answers[1:]],
        }
        if not own:
            extra["skipped"] = {"tokens_right": "no answer is right"}
        return Sample(
            item.id, item.index, item.cluster, scores, prompt, target, answers[0].text, tags, extra
        )


def drawn(model: Any, item: Item, params: Any, seed: int) -> Prompt:
    """An item's question of lm-eval, with its stops, for an answer drawn as `params` say."""
    from kdbench.tasks.lmeval.generation import decoding
    from kdbench.tasks.lmeval.scoring import _rendered

    text, asked = _rendered(item.payload.requests[0].args, model)
    how = decoding({**asked, "do_sample": False, "temperature": 0})
    return Prompt(
        text, how.stop, params.max_new_tokens or how.max_new_tokens,
        params.temperature, params.top_p if params.temperature else 1.0, 0, seed,
    )  # fmt: skip


def _reader(
    kind: str, target: str
) -> tuple[Callable[[str], Any | None], Callable[[Any, Any], bool], Any]:
    """How an answer is found in a text, how two are compared, and the right one."""
    if kind == "math":
        return math_answers.found_in, math_answers.same, math_answers.right_answer(target)

    def read(text: str) -> str | None:
        return text.strip() or None

    return read, lambda one, other: one == other, target.strip()


def _metrics(n: int, ks: Sequence[int]) -> list[Metric]:
    found = [
        Metric(f"pass@{k}", "fraction", "higher", f"problems solved by at least one of {k} answers")
        for k in ks
    ]
    return [
        *found,
        Metric(f"avg@{n}", "fraction", "higher", f"right answers among {n}"),
        Metric(f"maj@{n}", "fraction", "higher", f"problems that the vote of {n} answers solves"),
        Metric("tokens", "tokens", "lower", "tokens generated per answer"),
        Metric(
            "tokens_right", "tokens", "lower", "tokens generated per right answer", "weighted_mean"
        ),
        Metric("extraction_rate", "fraction", "higher", "answers in which an answer is found"),
        Metric("truncation_rate", "fraction", "lower", "answers cut off by the limit of tokens"),
    ]
