"""Acceptance without the loop: both models on the target's text, in one pass, for every gamma."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kdbench.errors import TaskError
from kdbench.models.prompt_lookup import PromptLookup
from kdbench.models.protocols import Continuation
from kdbench.models.tokens import TokenRow
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.speculative.drafts import (
    Chains,
    DraftParams,
    DraftTask,
    check_fit,
    looked_up,
    row_of,
)
from kdbench.tasks.speculative.numbers import replay_metrics
from kdbench.tasks.speculative.prompts import rendered
from kdbench.tasks.task import Context, Item, Metric, ModelTask

if TYPE_CHECKING:
    from kdbench.models.pair_scoring import Accepted
    from kdbench.tasks.panel import Panel

GAMMAS = [1, 3, 5, 8]
_OF_TEXT = ("alpha_of_text", "alpha_gap", "impossible")
_OF_DISTRIBUTIONS = ("alpha", "iid_approximation", *_OF_TEXT)


class ReplayParams(DraftParams):
    gamma: Chains = GAMMAS
    text: Literal["target", "reference"] = Field(
        "target",
        description="whose text: the target's own, or the prompts' references (alpha alone: text of "
        "another author has no tau)",
    )


@task("speculative.replay")
class SpeculativeReplay(DraftTask):
    """Target text is a cell of its own, shared by every draft; see `kdbench.metrics.replay`."""

    version = 1
    about = (
        "acceptance, block efficiency and passes per token of a student as a draft, for every gamma"
    )
    source = "kdbench; rejection rule of Leviathan et al. 2023 and Chen et al. 2023"
    Params = ReplayParams
    headlines = ("alpha", "tau@?")
    params: ReplayParams

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return replay_metrics(GAMMAS)

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import SPECULATIVE

        return SPECULATIVE

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "text": self.params.text}

    def basis(self) -> ModelTask | None:
        return None if self.params.text == "reference" else super().basis()

    def metrics(self) -> list[Metric]:
        return replay_metrics(self.params.gamma)

    def protocol(self) -> dict[str, str]:
        return {
            **super().protocol(),
            "text": self.params.text,
            "tau": "with bonus token",
            "softmax": "float32",
        }

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        told = [self._told(teacher, item, context) for item in items]
        rows = [row for _, row in told]
        check_fit(self.label, student, rows)
        if isinstance(student, PromptLookup):
            return [
                self._sample(item, sample, looked_up(student, row, self.params.gamma[-1]), None)
                for item, (sample, row) in zip(items, told, strict=True)
            ]
        from kdbench.models.pair_scoring import accepted

        found = accepted(teacher, student, rows, self.warp)
        note = note_of(teacher, student)
        samples = []
        for item, (sample, _), one in zip(items, told, found, strict=True):
            made = self._sample(item, sample, one.chance, one)
            if note:
                compared = [metric.name for metric in self.metrics() if metric.compared]
                made.extra["notes"] = {name: [note] for name in compared}
            samples.append(made)
        return samples

    def _told(self, teacher: Any, item: Item, context: Context) -> tuple[Sample, TokenRow]:
        """The text of an item, and its tokens behind those of the prompt, as the target read them."""
        if self.params.text == "target":
            sample = context.basis[item.id]
            return sample, row_of(teacher, sample, self.params.max_new_tokens)
        asked = item.payload
        prompt = rendered(teacher, asked.text)
        if not asked.reference:
            raise TaskError(
                f"{self.label}: the prompt {item.index} has no reference; take text: target"
            )
        (row,) = teacher.encoder.continuations([Continuation(prompt, f" {asked.reference}")])
        tags = {"category": asked.category} if asked.category else {}
        sample = Sample(item.id, item.index, item.cluster, {}, prompt, "", asked.reference, tags)
        return sample, row

    def _sample(self, item: Item, text: Sample, chances: Any, found: Accepted | None) -> Sample:
        sample = replace(text, index=item.index, cluster=item.cluster, scores={}, extra={})
        count = len(chances)
        if not count:
            sample.extra["skipped"] = dict.fromkeys(
                (metric.name for metric in self.metrics()), "the target's texts have no tokens"
            )
            return sample
        if found is not None:
            sample.scores["alpha"] = [sum(found.overlap), count]
            for g in self.params.gamma:
                sample.scores[f"iid_approximation@{g}"] = [sum(found.overlap), count, g]
        else:
            _skip(sample, self.metrics(), _OF_DISTRIBUTIONS, "a lookup gives no distributions")
        if self.params.text == "reference":
            _skip(sample, self.metrics(), None, _NOT_THE_TARGETS)
            return sample
        if found is not None:
            ours = sum(found.chance)
            sample.scores["alpha_of_text"] = [ours, count]
            sample.scores["alpha_gap"] = [ours - sum(found.overlap), count]
            sample.scores["impossible"] = [found.impossible, count]
            sample.extra["accept"] = [round(chance, 5) for chance in found.chance]
        sample.scores.update(loop_scores(chances, self.params.gamma))
        return sample


def loop_scores(chances: Any, gammas: Sequence[int]) -> dict[str, list[float]]:
    """A prompt's sums of a loop with each gamma: [numerator, denominator] by metric."""
    from kdbench.metrics.replay import replays

    scores: dict[str, list[float]] = {}
    for g, found in replays([chances], gammas).items():
        tokens, passes = float(found.tokens[0]), float(found.passes[0])
        accepted, tested, drafted = found.accepted[0], found.tested[0], found.drafted[0]
        scores |= {
            f"tau@{g}": [tokens, passes],
            f"passes_per_token@{g}": [passes, tokens],
            f"acceptance@{g}": [float(accepted.sum()), float(tested.sum())],
        }
        for k in range(g):
            scores[f"acceptance_at_{k + 1}@{g}"] = [float(accepted[k]), float(drafted[k])]
            scores[f"conditional_acceptance_at_{k + 1}@{g}"] = [
                float(accepted[k]), float(tested[k]),
            ]  # fmt: skip
    return scores


def note_of(teacher: Any, student: Any) -> str:
    """What a reader of the rows should know of a pair that is not as most are."""
    found = []
    rows = [one.scorer.vocabulary for one in (teacher, student)]
    if rows[0] != rows[1]:
        found.append(
            f"the target's vocabulary has {rows[0]} rows and the draft's {rows[1]}; the first {min(rows)} "
            "are shared, and no other token is accepted"
        )
    if student.proposes < student.scorer.vocabulary:
        found.append(
            f"the draft proposes {student.proposes} of the target's {rows[0]} tokens, and no other token is "
            "accepted"
        )
    sizes = [sum(p.numel() for p in one.model.parameters()) for one in (teacher, student)]
    if sizes[1] > sizes[0]:
        found.append(
            f"the draft has more parameters than the target ({sizes[1]} against {sizes[0]})"
        )
    return "; ".join(found)


_NOT_THE_TARGETS = (
    "the text is not the target's own, so min(1, q/p) of its tokens is no acceptance probability; "
    "take text: target"
)


def _skip(
    sample: Sample, metrics: Sequence[Metric], families: Sequence[str] | None, reason: str
) -> None:
    """Say why a sample has no score of some metrics: those of `families`, or all that it lacks."""
    reasons = sample.extra.setdefault("skipped", {})
    for metric in metrics:
        family = metric.name.partition("@")[0]
        if metric.name not in sample.scores and (families is None or family in families):
            reasons.setdefault(metric.name, reason)
