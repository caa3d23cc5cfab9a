"""A gate: a sentence about rows that must hold, read from its sentence form or its mapping form.

    retention of acc on reasoning/* >= 0.97
    speedup on efficiency/decode for fkl >= 1.5
    gap of nll on fidelity/* <= 0.02 with confidence 0.9 (warn)
    acc on reasoning/* no worse than baseline by 0.01
    tau@5 on speculative.replay/* for on-policy better than scratch by 0.1

    retention of exact_match on reasoning/gsm8k where category=algebra >= 0.9

Words in order: `[KIND of] METRIC [on [all] TASKS [where TAG=VALUE]] [for PAIR] COMPARISON
[with confidence C] [(warn)]`, where a comparison is `>= X`, `<= X`,
`no worse than BASELINE [by MARGIN]` or `better than BASELINE [by MARGIN]`; `97%` is 0.97.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from kdbench.errors import did_you_mean

Kind = Literal["value", "retention", "gap", "no_worse_than", "better_than"]
Bound = Annotated[float, Field(allow_inf_nan=False)]

DERIVED = ("retention", "gap", "ratio", "p", "lost", "gained", "gain_over_baseline")
"""What a pair adds to a metric; `acc.lost` can be bounded like a metric. So can `gain_over[STUDENT]`."""

AGAINST: Mapping[str, str] = {"no_worse_than": "no worse than", "better_than": "better than"}
"""Kinds that compare with a baseline, in words."""

_COMPARED = ("retention", "gap", *AGAINST)
_GAIN = re.compile(r"(?P<metric>.+?)\.gain_over\[(?P<student>.+)\]")
_EXAMPLE = "a gate reads like 'retention of acc on reasoning/* >= 0.97'"
_BOUNDS = {">=": "min", "≥": "min", "<=": "max", "≤": "max"}
_INSTEAD = {">": ">=", "=>": ">=", "<": "<=", "=<": "<=", "==": ">= or <=", "=": ">= or <="}
_WORD = r"[^\s<>=≥≤]+"


def _check_share(number: float) -> float:
    if not 0 < number < 1:
        percent = f"; write {number / 100:g}" if 1 < number < 100 else ""
        raise ValueError(f"must be more than 0 and less than 1, got {number:g}{percent}")
    return number


Share = Annotated[
    float,
    AfterValidator(_check_share),
    Field(json_schema_extra={"exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]


class Gate(BaseModel):
    """What must hold of the rows of one metric, for every task and pair that it names.

    `value` bounds the number itself (of the pair where the metric is one of pairs, else of the
    student), `retention` student / teacher, `gap` student - teacher in the metric's unit, and
    `no_worse_than` and `better_than` the student's distance to a baseline, in the metric's better
    direction. In a metric of pairs the baseline is another student of the same teacher.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Annotated[
        Kind,
        Field(
            description="What is bounded: the value itself (the default), the retention student / "
            "teacher, the gap student - teacher, or the distance to a baseline. Without `metric`, "
            "a metric's name can stand here."
        ),
    ] = "value"
    metric: Annotated[str, Field(pattern=rf"^{_WORD}$", description="A metric that a task emits.")]
    on: Annotated[
        str, Field(min_length=1, description="Tasks by label; * and ? are wildcards (reasoning/*).")
    ] = "*"
    where: Annotated[
        str | None,
        Field(
            pattern=r"^[^\s=<>≥≤]+=[^\s<>≥≤]+$",
            description="Only the samples that carry this tag (category=algebra).",
        ),
    ] = None
    pair: Annotated[str | None, Field(description="The one pair meant; default: all.")] = None
    model: Annotated[
        str | None,
        Field(description="`value` only: a model to bound instead of the students."),
    ] = None
    min: Annotated[Bound | None, Field(description="The least that will do.")] = None
    max: Annotated[Bound | None, Field(description="The most that will do.")] = None
    baseline: Annotated[
        str | None,
        Field(
            description="`no_worse_than` and `better_than` only: 'baseline' (the pair's own, the "
            "default), a model's name, or the path of earlier results (with a '/'), relative to the "
            "suite."
        ),
    ] = None
    margin: Annotated[
        Bound | None,
        Field(
            ge=0,
            description="How much worse will do (`no_worse_than`), or how much better is asked for "
            "(`better_than`); default 0.",
        ),
    ] = None
    confidence: Annotated[
        Share, Field(description="Of the interval; default: settings.confidence.")
    ] = 0.95
    severity: Annotated[Literal["fail", "warn"], Field(description="What a broken gate does.")] = (
        "fail"
    )

    @model_validator(mode="before")
    @classmethod
    def _metric_as_kind(cls, data: Any) -> Any:
        """`{kind: speedup, min: 1.5}` bounds the value of the metric `speedup`."""
        if isinstance(data, dict) and "metric" not in data and "kind" in data:
            kind = data["kind"]
            if isinstance(kind, str) and kind not in get_args(Kind):
                return {**data, "kind": "value", "metric": kind}
        return data

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.kind in AGAINST:
            if self.min is not None or self.max is not None:
                raise ValueError(f"{self.kind!r} takes a `margin`, not `min` or `max`")
        elif self.baseline is not None or self.margin is not None:
            kinds = " and ".join(map(repr, AGAINST))
            raise ValueError(f"`baseline` and `margin` go with {kinds}, not with {self.kind!r}")
        elif self.min is None and self.max is None:
            raise ValueError(f"a gate of kind {self.kind!r} needs `min` or `max`")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) is more than max ({self.max:g}): swap them")
        if self.model is not None and (self.pair is not None or self.kind != "value"):
            raise ValueError(
                "`model` bounds the value of one model: it goes neither with `pair` nor with "
                f"the kinds {', '.join(_COMPARED)}"
            )
        return self

    def contradicts(self, other: Gate) -> bool:
        """True where no number could keep both: bounds on the same thing that do not meet."""
        same = ("kind", "metric", "on", "where", "pair", "model")
        if any(getattr(self, key) != getattr(other, key) for key in same):
            return False
        least = max(x for x in (self.min, other.min, -math.inf) if x is not None)
        most = min(x for x in (self.max, other.max, math.inf) if x is not None)
        return least > most

    @property
    def sentence(self) -> str:
        """The gate as a sentence (two bounds are joined by `and`)."""
        prefix = f"{self.kind} of " if self.kind in ("retention", "gap") else ""
        words = [prefix + self.metric]
        if self.on != "*":
            words.append(f"on {self.on}")
        if self.where:
            words.append(f"where {self.where}")
        if self.pair or self.model:
            words.append(f"for {self.pair or self.model}")
        if self.kind in AGAINST:
            words.append(f"{AGAINST[self.kind]} {self.baseline or 'baseline'}")
            if self.margin is not None:
                words.append(f"by {self.margin!r}")
        bounds = [(">=", self.min), ("<=", self.max)]
        words.append(" and ".join(f"{sign} {x!r}" for sign, x in bounds if x is not None))
        words.append(f"with confidence {self.confidence!r}")
        if self.severity == "warn":
            words.append("(warn)")
        return " ".join(filter(None, words))


def parted(metric: str) -> tuple[str, str]:
    """A metric and what a pair derives from it, empty where nothing is: ("acc", "lost"),
    ("tau@5", "gain_over[scratch]")."""
    gain = _GAIN.fullmatch(metric)
    if gain:
        return gain["metric"], f"gain_over[{gain['student']}]"
    base, _, derived = metric.rpartition(".")
    return (base, derived) if derived in DERIVED else (metric, "")


def student_of(derived: str) -> str:
    """The other student in `gain_over[STUDENT]`; empty for everything else that pairs derive."""
    return derived.removeprefix("gain_over[").removesuffix("]") if "[" in derived else ""


def parse_sentence(text: str) -> dict[str, Any]:
    """The mapping form of a gate's sentence; `for NAME` gives `pair`.

    Raises `ValueError` with what was expected where.
    """
    words = re.sub(r"([<>=≥≤]+)", r" \1 ", re.sub(r"(?<=[0-9])\s+%", "%", text)).split()
    if not words:
        raise ValueError(f"an empty gate; {_EXAMPLE}")
    found: dict[str, Any] = {}
    if words[1:2] == ["of"]:
        kind = words[0]
        if kind not in ("value", "retention", "gap"):
            near = did_you_mean(kind, ["value", "retention", "gap"])
            known = "value, retention and gap are the kinds that go before 'of'"
            raise ValueError(f"no kind of gate is called {kind!r}{near}; {known}")
        found["kind"] = kind
        words = words[2:]
    found["metric"] = _take(words, "a metric")
    if "[" in found["metric"] and words[:1] == ["="]:
        base, _, tag = found["metric"].partition("[")
        part = f"where {tag}={' '.join(words[1:2]).removesuffix(']')}"
        raise ValueError(f"samples of one kind are chosen by words: write '{base} on TASKS {part}'")
    if words[:1] == ["on"]:
        every = words[1:2] == ["all"]
        if every and (not words[2:] or words[2] in ("where", "for", "no", "better", *_BOUNDS)):
            del words[:2]
        else:
            found["on"] = _take(words, "tasks, such as reasoning/*", skip=2 if every else 1)
    if words[:1] == ["where"]:
        found["where"] = _take_tag(words)
    if words[:1] == ["for"]:
        found["pair"] = _take(words, "a pair", skip=1)
    _take_comparison(words, found)
    if words[:2] == ["with", "confidence"]:
        found["confidence"] = _number(_take(words, "a number", skip=2))
    if words == ["(warn)"]:
        found["severity"] = "warn"
    elif words:
        raise ValueError(f"{' '.join(words)!r} is left over at the end; {_EXAMPLE}")
    return found


def _take_tag(words: list[str]) -> str:
    """`where TAG = VALUE` as `TAG=VALUE`."""
    tag = _take(words, "TAG=VALUE", skip=1)
    if words[:1] != ["="]:
        raise ValueError(f"expected TAG=VALUE after 'where', got {tag!r}; {_EXAMPLE}")
    return f"{tag}={_take(words, 'the value of the tag', skip=1)}"


def _take_comparison(words: list[str], found: dict[str, Any]) -> None:
    for kind, phrase in AGAINST.items():
        length = len(phrase.split())
        if words[:length] != phrase.split():
            continue
        if "kind" in found:
            raise ValueError(f"'{phrase}' compares values: leave out '{found['kind']} of'")
        found["kind"] = kind
        found["baseline"] = _take(words, "'baseline', a model or earlier results", skip=length)
        if words[:1] == ["by"]:
            found["margin"] = _number(_take(words, "a number", skip=1))
        return
    sign = words[0] if words else ""
    if sign in _INSTEAD:
        raise ValueError(f"write {_INSTEAD[sign]} instead of {sign!r}")
    if sign not in _BOUNDS:
        expected = ["on", "for"] if "on" not in found and "pair" not in found else []
        expected = expected or (["for"] if "pair" not in found else [])
        choices = ", ".join(repr(word) for word in [*expected, ">=", "<="])
        where = f"at {' '.join(words)!r}" if words else "at the end"
        near = did_you_mean(sign, [*expected, "no", "better"]) if sign else ""
        phrases = ", ".join(map(repr, AGAINST.values())).replace(", ", " or ")
        raise ValueError(f"expected {choices}, {phrases} {where}{near}; {_EXAMPLE}")
    found[_BOUNDS[sign]] = _number(_take(words, "a number", skip=1))
    if words[:1] == ["and"] and words[1:2] and words[1] in _BOUNDS:
        other = _BOUNDS[words[1]]
        if other in found:
            raise ValueError(f"{words[1]!r} is here twice")
        found[other] = _number(_take(words, "a number", skip=2))


def _take(words: list[str], what: str, skip: int = 0) -> str:
    """Remove `skip` words and the next one, and return that."""
    after = f" after {' '.join(words[:skip])!r}" if skip else ""
    del words[:skip]
    if not words or not re.fullmatch(_WORD, words[0]):
        got = repr(words[0]) if words else "nothing"
        raise ValueError(f"expected {what}{after}, got {got}; {_EXAMPLE}")
    return words.pop(0)


def _number(text: str) -> float:
    match = re.fullmatch(r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(%|[eE][-+]?[0-9]{1,3})?", text)
    if match is None:
        raise ValueError(f"expected a number, got {text!r}; {_EXAMPLE}")
    return float(match[1] + (match[2] or "").replace("%", "e-2"))


def faults(
    gate: Gate,
    emitted: Mapping[str, Collection[str]] | None,
    pairs: Mapping[str, str | None] | None,
    models: Collection[str] | None,
    students: Collection[str] | None = None,
) -> Iterator[tuple[str, str]]:
    """Names in `gate` that the suite doesn't have, as (key of the mapping form, message).

    `emitted` maps the labels of tasks and groups to their metrics, `pairs` names to baselines, and
    `students` are those of all pairs; None where they aren't known.
    """
    if emitted is not None:
        yield from _task_faults(gate, emitted)
    other = student_of(parted(gate.metric)[1])
    if students is not None and other and other not in students:
        yield (
            "metric",
            f"no student named {other!r}{did_you_mean(other, sorted(students))}; "
            f"the pairs' students are {', '.join(sorted(students))}",
        )
    if pairs is not None and gate.pair is not None and gate.pair not in pairs:
        yield "pair", f"no pair named {gate.pair!r}{did_you_mean(gate.pair, sorted(pairs))}"
    if models is not None and gate.model is not None and gate.model not in models:
        yield "model", f"no model named {gate.model!r}{did_you_mean(gate.model, sorted(models))}"
    if gate.kind not in AGAINST or "/" in (gate.baseline or ""):
        return
    if gate.baseline not in (None, "baseline"):
        if models is not None and gate.baseline not in models:
            near = did_you_mean(str(gate.baseline), [*sorted(models), "baseline"])
            yield (
                "baseline",
                f"no model named {gate.baseline!r}{near}; a baseline is 'baseline' (the pair's "
                "own), a model, or the path of earlier results (with a '/')",
            )
    elif pairs is not None:
        meant = [name for name in pairs if gate.pair in (None, name)]
        if meant and not any(pairs[name] for name in meant):
            yield "baseline", "no pair that this gate means has a `baseline`; name one in `pairs`"


def _task_faults(gate: Gate, emitted: Mapping[str, Collection[str]]) -> Iterator[tuple[str, str]]:
    labels = [label for label in emitted if fnmatchcase(label, gate.on)]
    everywhere = sorted({metric for metrics in emitted.values() for metric in metrics})
    here = sorted({metric for label in labels for metric in emitted[label]})
    if not labels:
        families = sorted({f"{label.split('/')[0]}/*" for label in emitted if "/" in label})
        near = did_you_mean(gate.on, [*sorted(emitted), *families])
        yield "on", f"no task of this suite is called {gate.on!r}{near}"
    metric, derived = parted(gate.metric)
    if gate.metric in everywhere or gate.kind != "value":
        metric = gate.metric
    if gate.kind != "value" and derived and metric not in everywhere:
        yield "metric", f"{metric!r} is a pair's own already: bound it without '{gate.kind}'"
    elif metric not in everywhere:
        known = here or everywhere
        near = did_you_mean(metric, [*known, *(f"{m}.{d}" for m in known for d in DERIVED)])
        remedy = near or f"; they emit {', '.join(known)}"
        yield "metric", f"no task of this suite emits {metric!r}{remedy}"
    elif labels and metric not in here:
        remedy = f"they emit {', '.join(here)}"
        yield "metric", f"no task that {gate.on!r} means emits {metric!r}; {remedy}"
