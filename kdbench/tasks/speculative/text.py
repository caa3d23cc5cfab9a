"""Target text: what the teacher says to the prompts, with its tokens; drafts are judged on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbench.errors import TaskError
from kdbench.models.protocols import GENERATE_TEXT, Prompt
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.speculative.prompts import PromptedTask, PromptParams, rendered
from kdbench.tasks.task import Context, Item, Metric, ModelTask


@task("speculative.text")
class SpeculativeText(PromptedTask, ModelTask):
    """Text drawn from a model, each prompt with a seed of its own; `extra["ids"]` has the tokens."""

    version = 1
    about = "text that a model writes to prompts, kept with its tokens for drafts to be judged on"
    source = "kdbench"
    Params = PromptParams

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return _METRICS

    def verbs(self) -> frozenset[str]:
        return self._chat_verbs() | {GENERATE_TEXT}

    def metrics(self) -> list[Metric]:
        return _METRICS

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        params, warp = self.params, self.warp
        prompts = [
            Prompt(
                rendered(model, item.payload.text), tuple(params.stop), params.max_new_tokens,
                warp.temperature, warp.top_p, warp.top_k, context.sample_seed(item.id),
            )
            for item in items
        ]  # fmt: skip
        samples = []
        for item, prompt, answer in zip(items, prompts, model.generate_text(prompts), strict=True):
            if answer.tokens and not answer.ids:
                raise TaskError(
                    f"{self.label}: the model's adapter gives text without its tokens, so no draft can "
                    "be judged on it; load the target with the adapter transformers"
                )
            scores = {"tokens": len(answer.ids), "cut_off": float(answer.finish == "length")}
            asked = item.payload
            tags = {"category": asked.category} if asked.category else {}
            samples.append(
                Sample(
                    item.id, item.index, item.cluster, scores, prompt.text, asked.reference,
                    answer.text, tags, {"ids": list(answer.ids), "finish": answer.finish},
                )
            )  # fmt: skip
        return samples


_METRICS = [
    Metric("tokens", "tokens", "lower", "tokens of a text, the end of text included"),
    Metric("cut_off", "fraction", "lower", "texts that max_new_tokens cut off"),
]
