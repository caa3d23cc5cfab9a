"""The fidelity family: how near a student's distributions are to its teacher's, on a task's own tokens.

One walk over the documents of a reasoning task: both models see the same rows, their scores are lm-eval's,
and their distributions are compared at every scored token before they are forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import TaskError
from kdbench.models.adapter import Download
from kdbench.models.protocols import SCORE_TOKENS
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.reasoning import Reasoning, ReasoningParams
from kdbench.tasks.task import Context, Item, Metric, PairTask

if TYPE_CHECKING:
    from kdbench.models.protocols import Continuation, Scored
    from kdbench.models.tokens import TokenRow
    from kdbench.tasks.panel import Panel

MOST_TOKENS = 128
"""Of each document, the first so many KLs are kept for drawing."""

TOKENS = [
    Metric("forward_kl", "nats/token", "lower", "KL(teacher || student) per token", "weighted_mean"),
    Metric("reverse_kl", "nats/token", "lower", "KL(student || teacher) per token", "weighted_mean"),
    Metric(
        "total_variation", "probability", "lower",
        "half of the L1 distance of the distributions, per token", "weighted_mean",
    ),
    Metric(
        "top1_agreement", "share", "higher",
        "tokens on which both find the same one most probable", "weighted_mean",
    ),
    Metric(
        "top5_agreement", "share", "higher",
        "of the teacher's five most probable tokens, those among the student's", "weighted_mean",
    ),
]  # fmt: skip
_COLUMNS = dict(zip((metric.name for metric in TOKENS), range(5), strict=True))
ROLES = ("teacher", "student")


@task("fidelity")
class Fidelity(PairTask):
    """The documents, prompts and scores of `reasoning`, asked of both models in one walk."""

    version = 1
    about = "KL both ways, total variation, agreement and calibration on a reasoning task's tokens"
    source = "kdbench; scores by EleutherAI lm-evaluation-harness 0.4.13"
    Params = ReasoningParams
    shorthand = "lm_eval"
    headlines = ("forward_kl", "top1_agreement", "choice_agreement")
    params: ReasoningParams

    @cached_property
    def _asked(self) -> Reasoning:
        return Reasoning(self.params, self.folder)

    @classmethod
    def expand(cls, params: ReasoningParams, folder: Path) -> list[ReasoningParams]:
        return Reasoning.expand(params, folder)

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return [*TOKENS, *_nll(), *_choices()]

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import FIDELITY

        return FIDELITY

    @property
    def label(self) -> str:
        return self._asked.label.replace("reasoning/", "fidelity/", 1)

    def identity(self) -> dict[str, Any]:
        return self._asked.identity()

    def verbs(self) -> frozenset[str]:
        self._output_type  # noqa: B018 - refuses what is generated
        return self._asked.verbs() | {SCORE_TOKENS}

    def metrics(self) -> list[Metric]:
        own = self._asked.metrics()
        found = [
            replace(metric, name=f"{role}_{metric.name}", about=f"{metric.about} ({role})")
            for metric in own
            for role in ROLES
        ]
        found += [*TOKENS, *_nll()]
        return found + (_choices() if self._output_type == "multiple_choice" else [])

    def protocol(self) -> dict[str, str]:
        return {**self._asked.protocol(), "tokens": "all that are scored", "softmax": "float32"}

    def data_fingerprint(self) -> str:
        return self._asked.data_fingerprint()

    def downloads(self) -> list[Download]:
        return self._asked.downloads()

    def fetch(self) -> None:
        self._asked.fetch()

    def items(self, limit: int | None) -> list[Item]:
        return self._asked.items(limit)

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        walk = _Walk(teacher, student)
        ours = self._asked.measure(walk, items, context)
        theirs = self._asked.measure(_Told(walk), items, context)
        counts = [len(item.payload.requests) for item in items]
        if sum(counts) != len(walk.tokens):
            raise TaskError(f"{self.label}: {len(walk.tokens)} of {sum(counts)} requests came back")
        found, start = [], 0
        for one, other, count in zip(ours, theirs, counts, strict=True):
            own = slice(start, start + count)
            found.append(_sample(one, other, walk, own))
            start += count
        return found

    @property
    def _output_type(self) -> str:
        kind = str(self._asked._config.get("output_type", "generate_until"))
        if kind == "generate_until":
            raise TaskError(
                f"{self.label}: the task has its answers generated, so there are no tokens that both "
                "models score; take one of multiple choice, loglikelihood or perplexity"
            )
        return kind


class _Walk:
    """Answers for the teacher, and remembers what the student says at the same places."""

    def __init__(self, teacher: Any, student: Any) -> None:
        self.teacher, self.student = teacher, student
        self.told: list[Scored] = []
        self.scored: list[tuple[Scored, Scored]] = []
        self.tokens: list[list[list[float]]] = []
        self.apart = "" if _same_tokens(teacher, student) else _APART

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]:
        from kdbench.models.pair_scoring import compare

        if self.apart:
            return self._separately(
                self.teacher.score_text(requests), self.student.score_text(requests)
            )
        rows = self.teacher.encoder.continuations(requests)
        return self._together(compare(self.teacher, self.student, rows))

    def score_rolling(self, texts: Sequence[str]) -> list[Scored]:
        if self.apart:
            return self._separately(
                self.teacher.score_rolling(texts), self.student.score_rolling(texts)
            )
        return self._in_windows(self.teacher.encoder.rolling(texts))

    def score_windows(self, texts: Sequence[str], window: int, stride: int) -> list[Scored]:
        if self.apart:
            return self._separately(
                self.teacher.score_windows(texts, window, stride),
                self.student.score_windows(texts, window, stride),
            )
        return self._in_windows(self.teacher.encoder.rolling(texts, window, stride))

    def _in_windows(self, windows: Sequence[Sequence[TokenRow]]) -> list[Scored]:
        from kdbench.models.pair_scoring import compare_rolling

        return self._together(compare_rolling(self.teacher, self.student, windows))

    def apply_chat_template(self, *arguments: Any, **options: Any) -> str:
        return str(self.teacher.apply_chat_template(*arguments, **options))

    def _together(self, found: Sequence[Any]) -> list[Scored]:
        self.tokens += [one.tokens for one in found]
        return self._remember([one.teacher for one in found], [one.student for one in found])

    def _separately(self, teacher: list[Scored], student: list[Scored]) -> list[Scored]:
        self.tokens += [[] for _ in teacher]
        return self._remember(teacher, student)

    def _remember(self, teacher: list[Scored], student: list[Scored]) -> list[Scored]:
        self.scored += zip(teacher, student, strict=True)
        self.told += student
        return teacher


class _Told:
    """Answers for the student what the walk has heard from it, request by request."""

    def __init__(self, walk: _Walk) -> None:
        self.walk = walk

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]:
        return self._next(len(requests))

    def score_rolling(self, texts: Sequence[str]) -> list[Scored]:
        return self._next(len(texts))

    def score_windows(self, texts: Sequence[str], window: int, stride: int) -> list[Scored]:
        return self._next(len(texts))

    def apply_chat_template(self, *arguments: Any, **options: Any) -> str:
        return self.walk.apply_chat_template(*arguments, **options)

    def _next(self, count: int) -> list[Scored]:
        told, self.walk.told = self.walk.told[:count], self.walk.told[count:]
        return told


_APART = (
    "teacher and student have different tokenizers or context lengths, so their tokens can't be "
    "compared; choices and bits per byte can"
)


def _same_tokens(teacher: Any, student: Any) -> bool:
    """Whether the same text is the same row of tokens to both."""
    one, other = teacher.encoder, student.encoder
    if (one.max_length, one.add_bos_token) != (other.max_length, other.add_bos_token):
        return False
    first, second = one.tokenizer, other.tokenizer
    if getattr(first, "is_fast", False) and getattr(second, "is_fast", False):
        return bool(first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str())
    return bool(first.get_vocab() == second.get_vocab() and type(first) is type(second))


def _sample(one: Sample, other: Sample, walk: _Walk, own: slice) -> Sample:
    """One document of the pair, from what each model made of it."""
    scores: dict[str, Any] = {}
    for role, sample in zip(ROLES, (one, other), strict=True):
        scores |= {f"{role}_{name}": value for name, value in sample.scores.items()}
    extra: dict[str, Any] = {}
    for role, place in zip(ROLES, (0, 1), strict=True):
        parts = [pair[place] for pair in walk.scored[own]]
        count = sum(part.tokens for part in parts)
        if count:
            scores[f"{role}_nll"] = [-sum(part.logprob for part in parts), count]
    tokens = [token for request in walk.tokens[own] for token in request]
    if tokens:
        for name, column in _COLUMNS.items():
            scores[name] = [sum(token[column] for token in tokens), len(tokens)]
        # of the first request alone: positions within one text
        kls = walk.tokens[own][0][:MOST_TOKENS]
        extra["forward_kl"] = [round(token[0], 4) for token in kls]
    elif walk.apart:
        extra["skipped"] = dict.fromkeys(_COLUMNS, walk.apart)
    if "logprobs" in one.extra:
        scores |= _choice_scores(one, other)
        extra |= {
            "choices": one.extra["choices"], "gold": one.extra["gold"],
            "logprobs": one.extra["logprobs"], "student_logprobs": other.extra["logprobs"],
        }  # fmt: skip
    return replace(one, scores=scores, extra=extra)


def _choice_scores(one: Sample, other: Sample) -> dict[str, Any]:
    from kdbench.metrics.calibration import brier_score

    scores: dict[str, Any] = {
        "choice_agreement": float(one.extra["choice"] == other.extra["choice"])
    }
    gold = one.extra["gold"]
    for role, sample in zip(ROLES, (one, other), strict=True):
        logprobs, choice = sample.extra["logprobs"], sample.extra["choice"]
        if not isinstance(gold, int) or not 0 <= gold < len(logprobs):
            continue
        top = max(logprobs)
        weights = [math.exp(x - top) for x in logprobs]
        shares = [weight / sum(weights) for weight in weights]
        scores[f"{role}_ece"] = [shares[choice], float(choice == gold)]
        scores[f"{role}_brier"] = brier_score(shares, gold)
    return scores


def _nll() -> list[Metric]:
    return [
        Metric(
            f"{role}_nll", "nats/token", "lower",
            f"negative log-likelihood of the scored tokens ({role})", "weighted_mean",
        )
        for role in ROLES
    ]  # fmt: skip


def _choices() -> list[Metric]:
    found = [
        Metric("choice_agreement", "fraction", "higher", "documents on which both choose the same")
    ]
    for role in ROLES:
        found += [
            Metric(
                f"{role}_ece", "probability", "lower",
                f"distance of confidence and accuracy, debiased ({role})", "calibration_error",
            ),
            Metric(
                f"{role}_brier", "squared probability", "lower",
                f"squared distance of the choices' probabilities from the truth, 0 to 2 ({role})",
            ),
        ]  # fmt: skip
    return found
