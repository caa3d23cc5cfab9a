"""Gates: the sentence form and the mapping form give one typed gate, and its names are checked."""

# ruff: noqa: E501, F401, F811 - a table of messages reads best unbroken; fixtures are imported

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from suite_fakes import GOOD, Load, load, only_fakes, told

from kdbench.suite.gate import AGAINST, DERIVED, Gate, parse_sentence, parted
from kdbench.tasks.compare import PAIR_METRICS

Told = Callable[[str | bytes], list[str]]

BARE = GOOD[: GOOD.index("gates:\n")]


def gate_of(sentence: str) -> Gate:
    return Gate(**parse_sentence(sentence))


# fmt: off
SENTENCES = [
    ("retention of acc on reasoning/* >= 0.97", Gate(kind="retention", metric="acc", on="reasoning/*", min=0.97)),
    ("retention of acc >= 97%", Gate(kind="retention", metric="acc", min=0.97)),
    ("retention of acc>=97 %", Gate(kind="retention", metric="acc", min=0.97)),
    ("gap of nll on fidelity/* ≤ 0.02", Gate(kind="gap", metric="nll", on="fidelity/*", max=0.02)),
    ("gap of acc >= -2e-2", Gate(kind="gap", metric="acc", min=-0.02)),
    ("value of acc >= .5", Gate(metric="acc", min=0.5)),
    ("speedup for fkl >= 1.5", Gate(metric="speedup", pair="fkl", min=1.5)),
    ("tau >= 2 and <= 3", Gate(metric="tau", min=2, max=3)),
    ("pass@1 on code/human_eval >= 0", Gate(metric="pass@1", on="code/human_eval", min=0)),
    ("acc no worse than baseline", Gate(kind="no_worse_than", metric="acc", baseline="baseline")),
    (
        "acc on a/b for fkl no worse than results/main by 1% with confidence 90% (warn)",
        Gate(kind="no_worse_than", metric="acc", on="a/b", pair="fkl", baseline="results/main", margin=0.01, confidence=0.9, severity="warn"),
    ),
    ("tau@5 on all speculative.replay/* for fkl better than scratch by 0.1", Gate(kind="better_than", metric="tau@5", on="speculative.replay/*", pair="fkl", baseline="scratch", margin=0.1)),
    ("tau@5 on all better than baseline", Gate(kind="better_than", metric="tau@5", baseline="baseline")),
    ("tau@5.gain_over[scratch] >= 0.1", Gate(metric="tau@5.gain_over[scratch]", min=0.1)),
]

NO_SENTENCES = [
    ("", "an empty gate; a gate reads like 'retention of acc on reasoning/* >= 0.97'"),
    ("retenton of acc >= 1", "no kind of gate is called 'retenton' (did you mean 'retention'?); value, retention and gap are the kinds that go before 'of'"),
    ("acc > 0.5", "write >= instead of '>'"),
    ("acc == 0.5", "write >= or <= instead of '=='"),
    ("acc", "expected 'on', 'for', '>=', '<=', 'no worse than' or 'better than' at the end; a gate reads like"),
    ("acc one reasoning/* >= 1", "expected 'on', 'for', '>=', '<=', 'no worse than' or 'better than' at 'one reasoning/* >= 1' (did you mean 'on'?)"),
    ("acc on a at least 1", "expected 'for', '>=', '<=', 'no worse than' or 'better than' at 'at least 1'"),
    ("acc >= high", "expected a number, got 'high'"),
    ("acc >= nan", "expected a number, got 'nan'"),
    ("acc >=", "expected a number after '>=', got nothing"),
    ("acc on >= 1", "expected tasks, such as reasoning/* after 'on', got '>='"),
    ("acc >= 1 or so", "'or so' is left over at the end"),
    ("acc >= 1 and >= 2", "'>=' is here twice"),
    ("retention of acc no worse than baseline", "'no worse than' compares values: leave out 'retention of'"),
    ("gap of acc better than baseline", "'better than' compares values: leave out 'gap of'"),
    ("acc beter than scratch", "expected 'on', 'for', '>=', '<=', 'no worse than' or 'better than' at 'beter than scratch' (did you mean 'better'?)"),
    ("acc better than", "expected 'baseline', a model or earlier results after 'better than', got nothing"),
    ("tau@5[category=math] >= 2", "samples of one kind are chosen by words: write 'tau@5 on TASKS where category=math'"),
]

WRONG = [
    ("{metric: acc}", "36:5: gates[0]: a gate of kind 'value' needs `min` or `max`"),
    ("{metric: acc, kind: gap}", "36:5: gates[0]: a gate of kind 'gap' needs `min` or `max`"),
    ("{metric: acc, min: 2, max: 1}", "36:5: gates[0]: min (2) is more than max (1): swap them"),
    ("{metric: acc, min: 1, margin: 1}", "36:5: gates[0]: `baseline` and `margin` go with 'no_worse_than' and 'better_than', not with 'value'"),
    ("{metric: acc, kind: no_worse_than, min: 1}", "36:5: gates[0]: 'no_worse_than' takes a `margin`, not `min` or `max`"),
    ("{metric: acc, kind: no_worse_than, margin: -1}", "36:48: gates[0].margin: must be at least 0, got -1"),
    ("{metric: acc, kind: gap, min: 0, model: big}", "36:5: gates[0]: `model` bounds the value of one model: it goes neither with `pair` nor with the kinds retention, gap, no_worse_than, better_than"),
    ("{metric: acc, kind: gpa, min: 0}", "36:25: gates[0].kind: expected 'value', 'retention', 'gap', 'no_worse_than' or 'better_than', got 'gpa' (did you mean 'gap'?)"),
    ("{metric: acc, min: .nan}", "36:24: gates[0].min: expected a finite number, got .nan"),
    ("{metric: acc, min: high}", "36:24: gates[0].min: expected a number, got 'high'"),
    ("{metric: acc, min: 97%}", "36:24: gates[0].min: expected a number, got '97%'; write 0.97"),
    ("{metric: acc, min: 1, severity: wran}", "36:37: gates[0].severity: expected 'fail' or 'warn', got 'wran' (did you mean 'warn'?)"),
    ("{metric: acc, min: 1, confidence: 1}", "36:39: gates[0].confidence: must be more than 0 and less than 1, got 1"),
    ("{metric: ac, min: 1}", "36:14: gates[0].metric: no task of this suite emits 'ac' (did you mean 'acc'?)"),
    ("{kind: speedop, min: 1}", "36:12: gates[0].kind: no task of this suite emits 'speedop' (did you mean 'speedup'?)"),
    ("{metric: acc, on: quizz/*, min: 1}", "36:23: gates[0].on: no task of this suite is called 'quizz/*' (did you mean 'quiz/*'?)"),
    ("{metric: acc, on: speed/*, min: 1}", "36:14: gates[0].metric: no task that 'speed/*' means emits 'acc'; they emit latency, speedup"),
    ("{metric: acc, pair: smal, min: 1}", "36:25: gates[0].pair: no pair named 'smal' (did you mean 'small'?)"),
    ("{metric: acc, model: bigg, min: 1}", "36:26: gates[0].model: no model named 'bigg' (did you mean 'big'?)"),
    ("{metric: acc, kind: no_worse_than, baseline: scrach}", "36:50: gates[0].baseline: no model named 'scrach' (did you mean 'scratch'?); a baseline is 'baseline' (the pair's own), a model, or the path of earlier results (with a '/')"),
    ("{metric: acc, kind: better_than, min: 1}", "36:5: gates[0]: 'better_than' takes a `margin`, not `min` or `max`"),
    ("acc better than scrach", "36:5: gates[0]: no model named 'scrach' (did you mean 'scratch'?); a baseline is 'baseline' (the pair's own), a model, or the path of earlier results (with a '/')"),
    ("acc.gain_over[scrach] >= 0", "36:5: gates[0]: no student named 'scrach' (did you mean 'scratch'?); the pairs' students are scratch, served, small"),
    ("ac.gain_over[scratch] >= 0", "36:5: gates[0]: no task of this suite emits 'ac' (did you mean 'acc'?)"),
    ("gap of acc.gain_over[scratch] >= 0", "36:5: gates[0]: 'acc.gain_over[scratch]' is a pair's own already: bound it without 'gap'"),
    ("{metric: acc, kind: no_worse_than, pair: scratch-of-big}", "36:5: gates[0]: no pair that this gate means has a `baseline`; name one in `pairs`"),
    ("acc.losst <= 0.1", "36:5: gates[0]: no task of this suite emits 'acc.losst' (did you mean 'acc.lost'?)"),
    ("retention of acc.lost <= 0.1", "36:5: gates[0]: 'acc.lost' is a pair's own already: bound it without 'retention'"),
    ("acc for smll >= 0.1", "36:5: gates[0]: no pair named 'smll' (did you mean 'small'?)"),
    ("acc > 1", "36:5: gates[0]: write >= instead of '>'"),
    ("5", "36:5: gates[0]: expected a sentence or a mapping, got 5"),
]
# fmt: on


@pytest.mark.parametrize(("sentence", "gate"), SENTENCES)
def test_a_sentence_is_read_as_a_gate(sentence: str, gate: Gate) -> None:
    assert gate_of(sentence) == gate


@pytest.mark.parametrize(("sentence", "message"), NO_SENTENCES)
def test_what_is_no_sentence_is_told(sentence: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_sentence(sentence)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("gate", "line"), WRONG)
def test_a_wrong_gate_is_told_at_its_place(told: Told, gate: str, line: str) -> None:
    assert told(f"{BARE}gates:\n  - {gate}\n") == [f"s.yaml:{line}"]


def test_the_confidence_of_a_gate_is_that_of_the_settings(load: Load) -> None:
    gates = load(GOOD).gates
    assert [gate.confidence for gate in gates] == [0.9, 0.9, 0.8, 0.9, 0.9]


def test_a_metric_may_stand_as_the_kind(load: Load) -> None:
    gate = load(GOOD).gates[2]
    assert (gate.kind, gate.metric, gate.min) == ("value", "speedup", 1.5)


def test_a_group_can_be_gated_like_a_task(load: Load) -> None:
    text = f"{BARE}gates:\n  - acc on quiz/mmlu >= 0.5\n  - acc on quiz/mmlu_l* >= 0.5\n"
    assert [gate.on for gate in load(text).gates] == ["quiz/mmlu", "quiz/mmlu_l*"]


def test_for_means_a_pair_first_and_a_model_where_no_pair_is_called_so(load: Load) -> None:
    text = f"{BARE}gates:\n  - acc for small >= 0.5\n  - acc for big >= 0.5\n"
    pair, model = load(text).gates
    assert (pair.pair, pair.model) == ("small", None)
    assert (model.pair, model.model) == (None, "big")


def test_earlier_results_and_models_can_be_a_baseline(load: Load) -> None:
    text = f"{BARE}gates:\n  - acc no worse than ../results/main\n  - acc no worse than big by 1%\n"
    assert [gate.baseline for gate in load(text).gates] == ["../results/main", "big"]


def test_the_same_gate_twice_is_refused(told: Told) -> None:
    text = f"{BARE}gates:\n  - acc >= 0.5\n  - {{metric: acc, min: 0.5}}\n"
    assert told(text) == ["s.yaml:37:5: gates[1]: the same gate as gates[0]; remove one"]


def test_a_wrong_task_raises_no_doubt_about_the_metrics_of_gates(told: Told) -> None:
    assert told(GOOD.replace("- speed\n", "- sped\n")) == [
        "s.yaml:25:5: tasks[3]: no task named 'sped' (did you mean 'speed'?); "
        "`kdbench list tasks` shows the known ones"
    ]


def test_derived_metrics_are_those_that_pairs_add() -> None:
    named_after_a_student = {name for name in PAIR_METRICS if "[" in name}
    assert set(DERIVED) == set(PAIR_METRICS) - named_after_a_student
    assert parted("a.b.lost") == ("a.b", "lost") and parted("speed.p50") == ("speed.p50", "")
    assert parted("tau@5.gain_over[v1.5]") == ("tau@5", "gain_over[v1.5]")


names = st.from_regex(r"[A-Za-z][A-Za-z0-9_./@*-]{0,12}", fullmatch=True).filter(
    lambda word: word not in ("of", "on", "for", "no", "better")
)
numbers = st.floats(-1e6, 1e6)


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    kind = draw(st.sampled_from(["value", "retention", "gap", *AGAINST]))
    data: dict[str, Any] = {
        "kind": kind,
        "metric": draw(names),
        "on": draw(st.just("*") | names),
        "pair": draw(st.none() | names),
        "confidence": draw(st.floats(0.001, 0.999)),
        "severity": draw(st.sampled_from(["fail", "warn"])),
    }
    if kind in AGAINST:
        data |= {"baseline": draw(names), "margin": draw(st.none() | st.floats(0, 1e6))}
    else:
        low, high = sorted([draw(numbers), draw(numbers)])
        data |= draw(st.sampled_from([{"min": low}, {"max": high}, {"min": low, "max": high}]))
    return Gate(**data)


@given(gates())
def test_the_sentence_of_a_gate_is_read_as_the_same_gate(gate: Gate) -> None:
    assert gate_of(gate.sentence) == gate


@given(st.text() | st.lists(st.sampled_from(["of", "on", "for", "no", "worse", "better", "than", "by", "acc", ">=", "<=", "1", "and"]), max_size=8).map(" ".join))  # fmt: skip
def test_any_other_text_is_a_gate_or_a_value_error(text: str) -> None:
    try:
        found = parse_sentence(text)
    except ValueError:
        return
    assert found["metric"] in text
