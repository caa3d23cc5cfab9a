"""Calibration of choices and classes: is a choice right as often as its probability says?

A model's probability of its choice is the softmax of the choices' log-likelihoods, or what a classifier
says of its class. The curve's bins
hold equally many documents (Nixon et al. 2019, "Measuring calibration in deep learning"); the Brier
score is the mean over documents of the squared distance between the probabilities of all choices and
the truth (Brier 1950), from 0 to 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kdbench.results.sample import Sample
from kdbench.tasks.panel import PanelInput

BINS = 10
MIN_PER_BIN = 10


@dataclass
class Answers:
    """Of one model: probability of the choice taken, whether it was right, Brier score, cluster."""

    confidence: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    brier: list[float] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        own = sample.extra
        if "confidence" in own:  # a classifier's, whose other probabilities were not kept
            self.confidence.append(own["confidence"])
            self.right.append(float(own["choice"] == own["gold"]))
            self.brier.append(sample.scores["brier"])
            return
        logprobs, gold = own["logprobs"], own["gold"]
        top = max(logprobs)
        weights = [math.exp(x - top) for x in logprobs]
        shares = [weight / sum(weights) for weight in weights]
        choice = max(range(len(shares)), key=shares.__getitem__)
        self.confidence.append(shares[choice])
        self.right.append(float(choice == gold))
        self.brier.append(sum((p - (i == gold)) ** 2 for i, p in enumerate(shares)))


def data(given: PanelInput) -> Any:
    """Curves, Brier scores and over-confidence of both models; None without choices."""
    teacher, student = Answers(), Answers()
    clusters: list[str] = []
    for one, other in given.pairs():
        if _usable(one) and _usable(other):
            teacher.add(one)
            student.add(other)
            clusters.append(one.cluster)
    if len(clusters) < 2 * MIN_PER_BIN:
        return None
    return {
        "n": len(clusters),
        "teacher": _describe(teacher, clusters, given.confidence),
        "student": _describe(student, clusters, given.confidence),
    }


def _usable(sample: Sample) -> bool:
    logprobs, gold = sample.extra.get("logprobs"), sample.extra.get("gold")
    sure = sample.extra.get("confidence")
    if isinstance(sure, float) and isinstance(sample.scores.get("brier"), float):
        return math.isfinite(sure)
    return (
        isinstance(logprobs, list)
        and len(logprobs) > 1
        and isinstance(gold, int)
        and 0 <= gold < len(logprobs)
        and all(isinstance(x, (int, float)) and math.isfinite(x) for x in logprobs)
    )


def _describe(answers: Answers, clusters: Sequence[str], confidence: float) -> dict[str, Any]:
    from kdbench import stats

    over = [c - r for c, r in zip(answers.confidence, answers.right, strict=True)]
    order = sorted(range(len(clusters)), key=answers.confidence.__getitem__)
    count = min(BINS, len(order) // MIN_PER_BIN)
    bins = []
    for number in range(count):
        members = order[len(order) * number // count : len(order) * (number + 1) // count]
        own = [clusters[i] for i in members]
        share = stats.mean([answers.right[i] for i in members], own, confidence=confidence)
        bins.append({
            "confidence": sum(answers.confidence[i] for i in members) / len(members),
            "accuracy": {"value": share.value, "low": share.low, "high": share.high},
            "n": len(members),
        })  # fmt: skip
    return {
        "bins": bins,
        "brier": _mean(answers.brier, clusters, confidence),
        "overconfidence": _mean(over, clusters, confidence),
    }


def _mean(values: Sequence[float], clusters: Sequence[str], confidence: float) -> dict[str, float]:
    from kdbench import stats

    found = stats.mean(values, clusters, confidence=confidence)
    return {"value": found.value, "low": found.low, "high": found.high}
