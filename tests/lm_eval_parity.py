"""The same task through lm-eval and through kdbench, on a model that answers at once.

The model derives every answer from a hash of the request, so equal scores mean equal requests: one
changed character in a prompt changes the answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

from kdbench.models.protocols import Continuation, Generated, Prompt, Scored
from kdbench.results.sample import Sample
from kdbench.tasks.aggregate import OWN, aggregate
from kdbench.tasks.lmeval.metrics import score_key
from kdbench.tasks.reasoning import Reasoning
from kdbench.tasks.task import Context

ANSWERS = ("yes", "The answer is 4.", "#### 12", "no (B)", "So 3 + 4 = 7\n#### 7", " A ", "")


def number(*parts: str) -> int:
    """A number that depends on every character of `parts`."""
    return int.from_bytes(sha256("\0".join(parts).encode()).digest()[:4], "big")


def logprob(*parts: str) -> float:
    return -(number(*parts) % 100_000) / 1000 - 0.001


def greedy(*parts: str) -> bool:
    return number("greedy", *parts) % 3 == 0


def text(prompt: str) -> str:
    return ANSWERS[number(prompt) % len(ANSWERS)]


def chat(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
    turns = "".join(f"<{turn['role']}>{turn['content']}" for turn in messages)
    return turns + ("<assistant>" if add_generation_prompt else "")


class HashModel:
    """kdbench's verbs."""

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]:
        return [Scored(logprob(r.context, r.text), greedy(r.context, r.text), 1) for r in requests]

    def score_rolling(self, texts: Sequence[str]) -> list[Scored]:
        return [Scored(logprob(text), False, 1) for text in texts]

    def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]:
        return [Generated(text(prompt.text), 1, "stop") for prompt in prompts]

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        return chat(messages, add_generation_prompt)


def hash_lm() -> Any:
    """lm-eval's three verbs, the same answers."""
    from lm_eval.api.model import LM

    class HashLM(LM):
        tokenizer_name = "none"

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[Any]:
            return [(logprob(*r.args), greedy(*r.args)) for r in requests]

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[Any]:
            return [logprob(r.args[0]) for r in requests]

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[Any]:
            return [text(r.args[0]) for r in requests]

        def apply_chat_template(self, messages: Any, add_generation_prompt: bool = True) -> str:
            return chat(messages, add_generation_prompt)

    return HashLM()


def ask_lm_eval(path: Path, lm: Any, **options: Any) -> dict[str, Any]:
    """`simple_evaluate` on the one task in `path`, without the index of lm-eval's own tasks."""
    import lm_eval.evaluator
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    with mock.patch.object(lm_eval.evaluator, "add_env_info"):  # seconds of `pip list` per call
        found = lm_eval.evaluator.simple_evaluate(
            model=lm, tasks=[str(path)], task_manager=manager, bootstrap_iters=0, **options
        )
    assert found is not None
    (name,) = found["samples"]
    return {"results": found["results"][name], "samples": found["samples"][name]}


def ask_kdbench(
    path: Path, model: Any, limit: int | None = None, block: int = 7, **params: Any
) -> tuple[Reasoning, list[Sample]]:
    """The task in `path`, measured in blocks of `block` items."""
    task = Reasoning(Reasoning.Params(lm_eval=str(path), **params), path.parent)
    items = task.items(limit)
    samples = [
        sample
        for start in range(0, len(items), block)
        for sample in task.measure(model, items[start : start + block], Context(seed=0))
    ]
    assert [sample.id for sample in samples] == [item.id for item in items]
    json.dumps([sample.to_json() for sample in samples], allow_nan=False)
    return task, samples


def assert_equal(
    task: Reasoning,
    samples: list[Sample],
    theirs: dict[str, Any],
    tolerance: float = 0.0,
    relative: float = 1e-12,
) -> None:
    """Every score of every document, every prompt, and every aggregated value.

    `tolerance` is for log-likelihoods of two numerical paths, in nats.
    """
    by_filter: dict[str, list[dict[str, Any]]] = {}
    for sample in theirs["samples"]:
        by_filter.setdefault(sample["filter"], []).append(sample)
    announced = {metric.name for metric in task.metrics()}
    for pipeline, logged in by_filter.items():
        logged.sort(key=lambda sample: sample["doc_id"])
        assert len(logged) == len(samples)
        for ours, other in zip(samples, logged, strict=True):
            assert str(other["arguments"][0][0]).startswith(ours.prompt), ours.index
            for metric in other["metrics"]:
                key = score_key(metric, pipeline)
                assert key in announced
                assert_close(ours.scores[key], other[metric], tolerance, (ours.index, key))
    summaries = task.summarise(samples, Context(seed=0))
    for metric in task.metrics():
        name, _, pipeline = metric.name.partition("[")
        value = theirs["results"][f"{name},{pipeline.rstrip(']') or 'none'}"]
        scores = [sample.scores[metric.name] for sample in samples]
        if metric.aggregation == OWN:
            estimate = summaries[metric.name]
        else:
            estimate = aggregate(metric.aggregation, scores, [s.cluster for s in samples])
        bound = max(abs(value) * relative, tolerance)
        assert abs(estimate.value - value) <= bound, (metric.name, estimate.value, value)


def assert_close(ours: Any, theirs: Any, tolerance: float, where: Any) -> None:
    if isinstance(theirs, (tuple, list)) or getattr(theirs, "shape", ()):
        assert len(ours) == len(theirs), where
        for one, other in zip(ours, theirs, strict=True):
            assert_close(one, other, tolerance, where)
    elif isinstance(theirs, str):
        assert ours == theirs, where
    else:
        bound = tolerance + (1e-6 * abs(theirs) if tolerance else 0.0)  # a text of many tokens
        assert abs(ours - theirs) <= bound, (where, ours, theirs)
