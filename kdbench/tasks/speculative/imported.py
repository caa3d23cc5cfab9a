"""Speculative decoding that another tool measured: samples and metrics in the words of kdbench's own tasks.

The numbers are ratios of sums over answers, so that their intervals are clustered by prompt as everywhere.
Names end in `@gamma` for chains of gamma drafts; trees and drafts of unknown length have no such ending.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from kdbench.results.imports import Counted, Imported
from kdbench.results.sample import Sample
from kdbench.tasks.speculative.numbers import TAG
from kdbench.tasks.task import Metric

FAMILY = "speculative.imported"

Scores = dict[str, float | list[float]]


def samples_of(imported: Imported, prompts: str) -> list[Sample]:
    """One sample for each answer; all answers to a prompt, those of repetitions too, share a cluster."""
    found: list[Sample] = []
    shape = _shape(imported)
    for repetition, answers in enumerate(imported.files):
        for answer in answers:
            scores: Scores = {
                f"{name}{_ending(imported)}": score
                for name, score in _scores(answer, *shape).items()
            }
            about = {"repetition": repetition, "choice": answer.choice}
            if answer.turns_failed:
                about["turns_failed"] = answer.turns_failed
            found.append(
                Sample(
                    _id(prompts, answer, repetition), len(found), answer.question, scores,
                    prompt=answer.prompt, output=answer.output,
                    tags={TAG: answer.category} if answer.category else {}, extra=about,
                )
            )  # fmt: skip
    return found


def metrics_of(imported: Imported, samples: Iterable[Sample]) -> list[Metric]:
    """The metrics that any sample has, in one order whatever the answers."""
    there = {name for sample in samples for name in sample.scores}
    depth, _ = _shape(imported)
    return [metric for metric in _metrics(_ending(imported), depth) if metric.name in there]


def _metrics(end: str, depth: int) -> list[Metric]:
    found = [
        Metric(
            f"tau{end}", "tokens/pass", "higher",
            "block efficiency: tokens per verifying pass of the target, bonus token included",
            "weighted_mean", by=TAG,
        ),
        Metric(
            f"passes_per_token{end}", "passes/token", "lower", "verifying passes of the target per token",
            "weighted_mean",
        ),
        Metric(
            f"acceptance{end}", "fraction", "higher", "accepted of the drafts tested", "weighted_mean",
            by=TAG,
        ),
        Metric(
            f"accepted_of_drafted{end}", "fraction", "higher",
            "accepted of all drafts; falls as drafts get longer, so it ranks no drafts", "weighted_mean",
        ),
        Metric(
            f"tokens_per_second{end}", "tokens/s", "higher", "all tokens / all seconds of the answers",
            "weighted_mean", by=TAG,
        ),
        Metric(
            f"tokens_per_second_of_prompts{end}", "tokens/s", "higher",
            "mean of the answers' own tokens per second, as Spec-Bench and EAGLE report it",
        ),
    ]  # fmt: skip
    for k in range(1, depth + 1):
        found += [
            Metric(
                f"acceptance_at_{k}{end}", "fraction", "higher",
                f"passes that accept at least {k} drafts", "weighted_mean",
            ),
            Metric(
                f"conditional_acceptance_at_{k}{end}", "fraction", "higher",
                f"draft {k} accepted, where those before it were", "weighted_mean",
            ),
        ]  # fmt: skip
    return found


def _shape(imported: Imported) -> tuple[int, bool]:
    """Places that any answer counts by, and whether all of them know which drafts were tested: a number of
    some of the answers would be of the easy ones or of the hard ones."""
    known = [a.positions for own in imported.files for a in own if a.positions and a.passes]
    depth = max((len(positions.accepted) for positions in known), default=0)
    return depth, all(positions.tested is not None for positions in known)


def _scores(answer: Counted, depth: int, tests_known: bool) -> Scores:
    """[numerator, denominator] by metric, but for those with nothing to divide by."""
    pairs: dict[str, Sequence[float]] = {
        "tau": (answer.tokens, answer.passes),
        "passes_per_token": (answer.passes, answer.tokens),
    }
    if answer.accepted is not None and answer.drafted is not None:
        pairs["accepted_of_drafted"] = (answer.accepted, answer.drafted)
    if answer.seconds is not None:
        pairs["tokens_per_second"] = (answer.written, answer.seconds)
    if answer.positions is not None:
        accepted, tested = answer.positions.accepted, answer.positions.tested
        for k in range(1, depth + 1):
            count = accepted[k - 1] if k <= len(accepted) else 0
            pairs[f"acceptance_at_{k}"] = (count, answer.passes)
        if tests_known and tested is not None:
            pairs["acceptance"] = (sum(accepted), sum(tested))
            for k, both in enumerate(zip(accepted, tested, strict=True), 1):
                pairs[f"conditional_acceptance_at_{k}"] = both
    found: Scores = {name: [top, bottom] for name, (top, bottom) in pairs.items() if bottom}
    if answer.seconds is not None:
        found["tokens_per_second_of_prompts"] = answer.written / answer.seconds
    return found


def _ending(imported: Imported) -> str:
    return "" if imported.gamma is None else f"@{imported.gamma}"


def _id(prompts: str, answer: Counted, repetition: int) -> str:
    asked = f"{prompts}\n{answer.question}\n{answer.prompt}\n{answer.choice}\n{repetition}"
    return sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:16]
