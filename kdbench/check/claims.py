"""From gates to claims: one for each task and pair that a gate means, with its evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from kdbench.check import whole_sets
from kdbench.check.evidence import (
    Evidence,
    Joined,
    Missing,
    alone,
    bounded,
    join,
    paired,
    stated,
    unchanged,
)
from kdbench.check.published import Answers, Board, Results
from kdbench.check.verdicts import Bounds
from kdbench.errors import SettingsConflictError
from kdbench.results.table import Row
from kdbench.suite.gate import AGAINST, Gate, parted, student_of
from kdbench.tasks.aggregate import OWN
from kdbench.tasks.task import Metric

_FLIPS = ("lost", "gained")


@dataclass(frozen=True)
class Claim:
    """What a gate says of one task and one pair (or model).

    `index` is the gate's place in the suite; `about` names the subject; `against` what it is compared
    with, empty for a bound on a number itself.
    """

    index: int
    gate: Gate
    task: str
    about: str
    against: str
    bounds: Bounds
    evidence: Evidence | Missing
    teacher_samples: str = ""
    student_samples: str = ""
    cells: tuple[str, ...] = ()
    """Keys of the cells of these results that it rests on."""
    at_any_time: bool = False
    """Whether it can be judged while documents come in; else only when all are there."""


@dataclass(frozen=True)
class Setting:
    """What claims are made from: the results, and earlier ones by the name that a gate gives them."""

    results: Results
    earlier: dict[str, Results]
    replacement: Results | None = None
    """Stands in for every earlier result that a gate names (`--baseline`)."""
    found: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    """Evidence by what it is about, as many gates speak of the same two models."""

    def baseline(self, name: str) -> Results:
        return self.replacement if self.replacement is not None else self.earlier[name]


def claims_of(gates: Sequence[Gate], setting: Setting) -> list[Claim]:
    """Every claim of `gates`. Raises `SettingsConflictError` where numbers can't be compared at all."""
    found: list[Claim] = []
    for index, gate in enumerate(gates):
        own = list(_claims(index, gate, setting))
        found += own or [_nothing(index, gate, setting)]
    return found


def _nothing(index: int, gate: Gate, setting: Setting) -> Claim:
    labels = sorted({board.label for board in setting.results.boards})
    reason = f"no row of {gate.metric} on {gate.on}: the results have {', '.join(labels)}"
    alone = _named(gate) or student_of(parted(gate.metric)[1])
    if alone and any(_meant(gate, board) for board in setting.results.boards):
        reason = f"{alone} is not compared with itself, and there is no other student"
    return Claim(
        index, gate, gate.on, gate.pair or gate.model or "", "", _bounds(gate, ""), Missing(reason)
    )


def _claims(index: int, gate: Gate, setting: Setting) -> Iterator[Claim]:
    for board in setting.results.boards:
        found = _meant(gate, board)
        if found is None:
            continue
        metric, suffix = found
        base = metric.name
        if metric.better not in ("higher", "lower"):
            raise SettingsConflictError(
                f"{board.label}: {base} has no direction (better: {metric.better!r}), so nothing "
                "is better or worse; bound it by min and max in a task that says what is better"
            )
        if gate.model is not None:
            yield _of_model(index, gate, setting, board, metric, gate.model)
            continue
        others = (_named(gate), student_of(suffix))
        for pair in setting.results.pairs:
            every = gate.pair is None and board.concerns(pair) and pair["student"] not in others
            if gate.pair == pair["name"] or every:
                yield _of_pair(index, gate, setting, board, metric, suffix, pair)


def _meant(gate: Gate, board: Board) -> tuple[Metric, str] | None:
    """The metric of a board that a gate bounds, and what a pair derives from it ("acc", "lost")."""
    if not fnmatchcase(board.label, gate.on):
        return None
    metric, suffix = board.metric(gate.metric), ""
    if metric is None and gate.kind == "value":
        base, suffix = parted(gate.metric)
        metric = board.metric(base)
    return None if metric is None else (metric, suffix)


def _named(gate: Gate) -> str:
    """The model that a gate names as the baseline; empty where it means the pair's own or none."""
    return "" if gate.baseline in (None, "baseline") else str(gate.baseline)


def _tag(gate: Gate) -> tuple[str, str] | None:
    if gate.where is None:
        return None
    tag, _, value = gate.where.partition("=")
    return tag, value


def _bounds(gate: Gate, better: str) -> Bounds:
    if gate.kind not in AGAINST:
        return Bounds(gate.min, gate.max)
    ahead = gate.margin or 0.0 if gate.kind == "better_than" else 0.0 - (gate.margin or 0.0)
    beyond = gate.kind == "better_than" and not gate.margin  # equal is not better
    return Bounds(ahead, None, beyond) if better == "higher" else Bounds(None, 0.0 - ahead, beyond)


def _of_model(
    index: int, gate: Gate, setting: Setting, board: Board, metric: Metric, model: str
) -> Claim:
    trouble = board.trouble(model)
    evidence = Missing(trouble) if trouble else _value(gate, setting, board, metric, model)
    return Claim(
        index, gate, board.label, model, "", _bounds(gate, metric.better), evidence,
        cells=_keys(board, (model,)), at_any_time=bounded(metric),
    )  # fmt: skip


def _value(
    gate: Gate, setting: Setting, board: Board, metric: Metric, model: str
) -> Evidence | Missing:
    if metric.aggregation == OWN:
        return whole_sets.alone(board, model, metric, _tag(gate))
    answers = board.answers(model, metric.name, _tag(gate), setting.results.order)
    return _alone(metric, answers, gate)


def _keys(board: Board, models: Sequence[str | None]) -> tuple[str, ...]:
    return tuple(cell["key"] for model in models for cell in board.models.get(model or "", ()))


def _rests_on(
    gate: Gate, board: Board, suffix: str, pair: dict[str, Any]
) -> tuple[tuple[str, ...], bool]:
    """Keys of the cells behind a claim on a pair, and whether samples of them are all that it needs."""
    teacher, student = pair["teacher"], pair["student"]
    if (teacher, student) in board.pairs:
        both = ((teacher, student), (teacher, _other(gate, suffix, pair)))
        return tuple(board.pairs[names]["key"] for names in both if names in board.pairs), True
    kind = gate.kind if gate.kind != "value" else suffix
    if kind in AGAINST or student_of(kind):
        return _keys(board, (student, _other(gate, suffix, pair))), True
    if kind == "":
        return _keys(board, (student,)), True
    if kind in ("retention", "gap", *_FLIPS):
        return _keys(board, (teacher, student)), True
    return _keys(board, (teacher, student, pair["baseline"])), False


def _other(gate: Gate, suffix: str, pair: dict[str, Any]) -> str:
    """The model that a pair's student is set against (or the name of earlier results); empty for none."""
    if gate.kind in AGAINST:
        return _named(gate) or pair["baseline"] or ""
    return pair["baseline"] or "" if suffix == "gain_over_baseline" else student_of(suffix)


def _alone(metric: Metric, answers: Answers, gate: Gate) -> Evidence | Missing:
    if not len(answers.scores):
        return Missing(
            f"no sample has {metric.name}" + (f" where {gate.where}" if gate.where else "")
        )
    return alone(metric, answers)


def _of_pair(
    index: int,
    gate: Gate,
    setting: Setting,
    board: Board,
    metric: Metric,
    suffix: str,
    pair: dict[str, str],
) -> Claim:
    student, teacher = pair["student"], pair["teacher"]
    cells, samples_suffice = _rests_on(gate, board, suffix, pair)

    def claim(evidence: Evidence | Missing, against: str = "", first: str = "") -> Claim:
        better = evidence.better if isinstance(evidence, Evidence) else metric.better
        bounds = _bounds(gate, better)
        _check_margin(gate, evidence)
        own = board.models.get(student, [])
        return Claim(
            index, gate, board.label, pair["name"], against, bounds, evidence, first,
            own[0]["samples"] if len(own) == 1 and own[0]["status"] == "done" else "",
            cells, samples_suffice and bounded(metric),
        )  # fmt: skip

    if (teacher, student) in board.pairs:
        return claim(*_own_of_pair(gate, setting, board, metric, suffix, pair))
    if board.trouble(student):
        return claim(Missing(board.trouble(student)))
    if gate.kind in AGAINST or student_of(suffix):
        return claim(*_compared(gate, setting, board, metric, suffix, pair))
    kind = gate.kind if gate.kind != "value" else suffix
    if metric.aggregation == OWN:
        name = f"{metric.name}.{kind}" if kind else metric.name
        role = "pair" if kind else "student"
        return claim(_from_table(gate, setting, board, pair["name"], name, role))
    if kind == "":
        return claim(_value(gate, setting, board, metric, student))
    if kind not in ("retention", "gap", "ratio", *_FLIPS):
        return claim(_from_table(gate, setting, board, pair["name"], gate.metric))
    if board.trouble(teacher):
        return claim(Missing(board.trouble(teacher)), teacher)
    key = (board, metric.name, kind, teacher, student, gate.where)
    if key not in setting.found:
        setting.found[key] = _against((board, teacher), (board, student), metric, kind, gate)
    theirs = board.models[teacher]
    first = theirs[0]["samples"] if len(theirs) == 1 else ""
    return claim(setting.found[key], teacher, first)


def _against(
    first: tuple[Board, str], second: tuple[Board, str], metric: Metric, kind: str, gate: Gate
) -> Evidence | Missing:
    """Second against first, two models of one run."""
    if metric.aggregation == OWN:
        return whole_sets.paired(metric, kind, first, second)
    return paired(metric, kind, (first[1], second[1]), _join(first, second, metric, gate))


def _join(
    first: tuple[Board, str], second: tuple[Board, str], metric: Metric, gate: Gate
) -> Joined:
    (one, before), (other, now) = first, second
    tag, order = _tag(gate), common_order(one.results, other.results)
    return join(
        one.answers(before, metric.name, tag, order), other.answers(now, metric.name, tag, order)
    )


def common_order(one: Results, other: Results) -> int | None:
    """The random order that both were met in, or one of them while the other has all documents."""
    orders = {results.order for results in (one, other)} - {None}
    if len(orders) > 1:
        raise SettingsConflictError(
            f"{one.name} and {other.name} both stopped early, in different random orders (seeds "
            f"{one.order} and {other.order}); run one of them to its end, or both with one seed"
        )
    return orders.pop() if orders else None


def _earlier(gate: Gate, setting: Setting, pair: dict[str, str]) -> Results | None:
    """The earlier results that a gate compares a pair with; None where it means a model of these."""
    if gate.kind not in AGAINST:
        return None
    name = gate.baseline
    unnamed = name in (None, "baseline") and not pair["baseline"]
    if (name is not None and "/" in name) or (unnamed and setting.replacement is not None):
        return setting.baseline(name or "")
    return None


def _compared(
    gate: Gate, setting: Setting, board: Board, metric: Metric, suffix: str, pair: dict[str, str]
) -> tuple[Evidence | Missing, str]:
    """The student against its pair's baseline, a model, or itself in earlier results."""
    student, before = pair["student"], _earlier(gate, setting, pair)
    if before is not None:
        other = _same_protocol(before, board, student)
        if other is None:
            return Missing(f"{before.name} has no {board.label}"), before.name
        if other.trouble(student):
            return Missing(f"{before.name}: {other.trouble(student)}"), before.name
        _check_hardware(board.label, other.models[student][0], board.models[student][0])
        if metric.aggregation == OWN:
            return whole_sets.paired(metric, "gap", (other, student), (board, student)), before.name
        both = _join((other, student), (board, student), metric, gate)
        if other.keys(student) == board.keys(student) and both.alike:
            return unchanged(metric, "gap", len(both.ids)), before.name
        names = (f"{student} of {before.name}", f"{student} now")
        return paired(metric, "gap", names, both), before.name
    model = _other(gate, suffix, pair)
    if not model:
        return Missing(f"the pair {pair['name']} has no baseline"), ""
    if board.trouble(model):
        return Missing(board.trouble(model)), model
    return _against((board, model), (board, student), metric, "gap", gate), model


def _same_protocol(before: Results, board: Board, student: str) -> Board | None:
    boards = [b for b in before.on(board.label) if student in b.models or not b.models]
    same = next((b for b in boards if b.dialect == board.dialect), None)
    if same is not None or not boards:
        return same
    raise SettingsConflictError(
        f"{board.label}: {before.name} was made in another protocol, and numbers of different "
        f"protocols are never compared: {differing(boards[0].dialect, board.dialect)}"
    )


def differing(before: str, now: str) -> str:
    """The parts of two protocol ids that differ, in words."""
    one, other = (dict(part.partition("=")[::2] for part in p.split("; ")) for p in (before, now))
    parts = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return ", ".join(
        f"{key} was {one.get(key, 'absent')}, is {other.get(key, 'absent')}" for key in parts
    )


def _check_hardware(label: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Timings are compared on one machine only."""
    timed = "hardware" in (now.get("ingredients") or {})
    if timed and before["hardware"] != now["hardware"]:
        raise SettingsConflictError(
            f"{label}: timed on {now['hardware']}, the baseline on {before['hardware']}; run both "
            "on one machine"
        )


def _own_of_pair(
    gate: Gate, setting: Setting, board: Board, metric: Metric, suffix: str, pair: dict[str, str]
) -> tuple[Evidence | Missing, str]:
    """A metric that only the pair has (agreement, acceptance, an interleaved speed-up), and what it is
    compared with."""
    names, name = (pair["teacher"], pair["student"]), pair["name"]
    cell = board.pairs[names]
    if cell["status"] != "done":
        return Missing(f"{board.label} on {name}: {cell['reason']}"), ""
    if gate.kind in AGAINST or suffix.startswith("gain_over"):
        return _gain(gate, setting, board, metric, suffix, pair)
    if suffix or gate.kind != "value":
        kind = suffix or gate.kind
        reason = f"{metric.name} belongs to pairs, not to their models, so it has no {kind}"
        return Missing(reason), ""
    answers = board.pair_answers(names, metric.name, _tag(gate), setting.results.order)
    return _alone(metric, answers, gate), ""


def _gain(
    gate: Gate, setting: Setting, board: Board, metric: Metric, suffix: str, pair: dict[str, str]
) -> tuple[Evidence | Missing, str]:
    """A pair's own number minus that of another student of its teacher, or its own in earlier results."""
    names, name = (pair["teacher"], pair["student"]), pair["name"]
    before = _earlier(gate, setting, pair)
    if before is not None:
        other = _same_protocol(before, board, names[1])
        if other is None or names not in other.pairs:
            return Missing(f"{before.name} has no {board.label} of {name}"), before.name
        first, against = (other, names), before.name
        told = (f"{name} of {before.name}", f"{name} now")
    else:
        against = _other(gate, suffix, pair)
        first, told = (board, (names[0], against)), (against, names[1])
        if reason := _no_rival(board, pair, against):
            return Missing(reason), against
    theirs = first[0].pairs[first[1]]
    if theirs["status"] != "done":
        return Missing(f"{board.label} on {told[0]}: {theirs['reason']}"), against
    _check_hardware(board.label, theirs, board.pairs[names])
    tag, order = _tag(gate), common_order(first[0].results, board.results)
    both = join(
        first[0].pair_answers(first[1], metric.name, tag, order),
        board.pair_answers(names, metric.name, tag, order),
    )
    return paired(metric, "gap", told, both), against


def _no_rival(board: Board, pair: dict[str, str], other: str) -> str:
    """Why a pair's student can't be told from `other` in a metric of pairs; empty where it can."""
    if not other:
        return f"the pair {pair['name']} has no baseline"
    if other == pair["student"]:
        return f"{other} is not compared with itself"
    if (pair["teacher"], other) in board.pairs:
        return ""
    rivals = [s for t, s in board.pairs if t == pair["teacher"] and s != pair["student"]]
    known = f"there are {', '.join(rivals)}" if rivals else "there is none"
    return f"{other} is no other student of {pair['teacher']} on {board.label}; {known}"


def _from_table(
    gate: Gate, setting: Setting, board: Board, pair: str, metric: str, role: str = "pair"
) -> Evidence | Missing:
    """A number that the table holds and samples do not give back."""
    if gate.where:
        return Missing(f"{metric} is a number of the whole set; `where` can't choose a part of it")
    wanted = (board.label, board.protocol, pair, metric, role)
    row = next((row for row in setting.results.rows() if _place(row) == wanted), None)
    if row is None:
        return Missing(f"no row of {metric} on {board.label} for {pair}")
    if row.value is None or row.ci_low is None or row.ci_high is None:
        return Missing(f"{metric} on {board.label} for {pair}: {row.reason or 'no interval'}")
    return stated(
        row.value,
        row.ci_low,
        row.ci_high,
        row.n or 0,
        setting.results.confidence,
        row.unit,
        row.better,
    )


def _place(row: Row) -> tuple[str, ...]:
    return (row.task, row.protocol, row.pair, row.metric, row.role)


def _check_margin(gate: Gate, evidence: Evidence | Missing) -> None:
    """A margin beyond the whole scale is in the wrong unit."""
    if not isinstance(evidence, Evidence) or evidence.unit not in ("fraction", "ratio"):
        return
    named = {"margin": gate.margin, "min": gate.min, "max": gate.max}
    scale = 1.0 if evidence.unit == "fraction" else 10.0
    for key, number in named.items():
        if number is not None and math.fabs(number) > scale:
            raise SettingsConflictError(
                f"gate '{gate.sentence}': {key} {number:g} is beyond the scale of a {evidence.unit}; "
                f"for percent write {number:g}% or {number / 100:g}"
            )
