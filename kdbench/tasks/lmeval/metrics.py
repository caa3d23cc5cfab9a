"""What an lm-eval task will score, read from its configuration without importing lm-eval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from kdbench.errors import TaskError
from kdbench.tasks.aggregate import OWN
from kdbench.tasks.lmeval.yamls import FunctionReference
from kdbench.tasks.task import Metric

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
"""Metrics of a task without a metric_list, by its output_type."""

_AGGREGATIONS = {
    "perplexity": "perplexity",
    "word_perplexity": "weighted_perplexity",
    "byte_perplexity": "weighted_perplexity",
    "bits_per_byte": "bits_per_byte",
    "brier_score": "brier_score",
    "mcc": "matthews_corrcoef",
    "f1": "f1",
    "bleu": "bleu",
    "chrf": "chrf",
    "chrf++": "chrf++",
    "ter": "ter",
}
"""lm-eval's own aggregation of a metric whose entry names none; all others are means."""

_LOWER = frozenset(
    {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter"}
)

_ABOUT: Mapping[str, tuple[str, str]] = {
    "acc": ("fraction", "documents whose most probable answer is right"),
    "acc_norm": ("fraction", "right by log-probability per character of the choice"),
    "acc_bytes": ("fraction", "right by log-probability per byte of the choice"),
    "acc_mutual_info": ("fraction", "right by log-probability gained from the context"),
    "exact_match": ("fraction", "answers equal to the target"),
    "perplexity": ("perplexity", "exp of the mean negative log-probability of the target"),
    "word_perplexity": ("perplexity", "perplexity per white-space separated word"),
    "byte_perplexity": ("perplexity", "perplexity per UTF-8 byte"),
    "bits_per_byte": ("bits/byte", "negative log2-probability per UTF-8 byte"),
    "brier_score": ("squared error", "squared distance of choice probabilities to the truth"),
    "f1": ("fraction", "harmonic mean of precision and recall"),
    "mcc": ("correlation", "Matthews correlation of prediction and truth"),
    "bleu": ("points", "BLEU, 0 to 100"),
    "chrf": ("points", "chrF, 0 to 100"),
    "chrf++": ("points", "chrF++, 0 to 100"),
    "ter": ("points", "translation edit rate, percent"),
}


def filters(config: Mapping[str, Any]) -> list[str]:
    """Names of a task's filter pipelines; each gives every metric its own score."""
    listed = config.get("filter_list")
    return [str(entry["name"]) for entry in listed] if listed else ["none"]


def score_key(metric: str, pipeline: str) -> str:
    """`exact_match`, or `exact_match[strict-match]` where a named pipeline made the answer."""
    return metric if pipeline == "none" else f"{metric}[{pipeline}]"


def metrics(config: Mapping[str, Any]) -> list[Metric]:
    """Every metric of every filter pipeline, with lm-eval's defaults filled in.

    Raises `TaskError` for an output_type or metric_list that lm-eval would refuse too.
    """
    output_type = config.get("output_type", "generate_until")
    if output_type not in DEFAULTS:
        raise TaskError(
            f"lm-eval task {config.get('task')!r}: output_type {output_type!r} is none of "
            f"{', '.join(DEFAULTS)}"
        )
    listed = config.get("metric_list")
    entries = listed if listed is not None else [{"metric": name} for name in DEFAULTS[output_type]]
    found: dict[str, Metric] = {}
    for pipeline in filters(config):
        for entry in entries:
            for name in _names(entry, config):
                metric = _metric(name, entry, pipeline)
                found[metric.name] = metric
    return list(found.values())


def known() -> list[Metric]:
    """Metrics that lm-eval computes itself; tasks may score others by code of their own."""
    return [_metric(name, {}, "none") for name in _ABOUT]


def _names(entry: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    metric = entry.get("metric") if isinstance(entry, dict) else None
    if metric is None:
        raise TaskError(
            f"lm-eval task {config.get('task')!r}: an entry of metric_list names no metric"
        )
    name = metric.name if isinstance(metric, FunctionReference) else str(metric)
    if name == "bypass":
        return []  # lm-eval's placeholder for "don't score"
    if isinstance(metric, FunctionReference) and name == "pass_at_k":
        # the one function of lm-eval's tasks whose scores are named by an argument
        k = entry.get("k", 1)
        return [f"pass@{each}" for each in (k if isinstance(k, list) else [k])]
    return [name]


def _metric(name: str, entry: Mapping[str, Any], pipeline: str) -> Metric:
    aggregation = entry.get("aggregation", _AGGREGATIONS.get(name, "mean"))
    higher = entry.get("higher_is_better", name not in _LOWER)
    unit, about = _ABOUT.get(name, ("score", "scored by the task's own code"))
    if name.startswith("pass@"):
        unit, about = "fraction", "problems solved by at least one of k programs"
    better: Literal["higher", "lower"] = "higher" if higher else "lower"
    return Metric(
        score_key(name, pipeline),
        unit,
        better,
        about,
        OWN if isinstance(aggregation, FunctionReference) else str(aggregation),
    )
