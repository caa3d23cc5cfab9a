"""Gates between students of one teacher, in metrics that only pairs have."""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import Any

import pytest

from kdbench import stats
from kdbench.check.claims import Claim, Setting, claims_of
from kdbench.check.evidence import Evidence, Missing
from kdbench.check.judge import judged
from kdbench.check.published import Results
from kdbench.check.report import Finding
from kdbench.results.sample import Sample
from kdbench.results.scores import columns_of
from kdbench.suite.gate import Gate, parse_sentence
from kdbench.tasks.compare import against_student, join
from kdbench.tasks.task import Metric

TASK = "speculative.replay/made"
TAU = Metric("tau@5", "tokens/pass", "higher", "", "weighted_mean", compared=True)
PASSES = Metric("passes", "passes/token", "lower", "", "weighted_mean")
SAME = Metric("same", "fraction", "higher", "")
TIMED = Metric("step", "s", "lower", "", "p50")
RATES = {"good": 4.0, "poor": 3.0, "twin": 4.0}
SEEDS = {"good": 1, "poor": 2, "twin": 1}


def samples_of(student: str, n: int = 40) -> list[Sample]:
    """Texts whose length is the target's, and passes that depend on the draft; two texts a prompt."""
    own = random.Random(SEEDS[student])
    found = []
    for index in range(n):
        tokens = 30 + 7 * (index % 5)
        passes = tokens / (RATES[student] + own.uniform(-0.6, 0.6))
        scores: dict[str, Any] = {
            "tau@5": [tokens, passes], "passes": [passes, tokens],
            "same": float(own.random() < RATES[student] / 5), "step": [0.1, 0.2],
        }  # fmt: skip
        tags = {"category": "math" if index % 2 else "qa"}
        found.append(Sample(f"{index:04d}", index, f"c{index // 2}", scores, tags=tags))
    return found


def results(
    name: str = "now",
    students: dict[str, list[Sample]] | None = None,
    baseline: str | None = "poor",
    teachers: dict[str, str] | None = None,
    **changes: Any,
) -> Results:
    samples = {student: samples_of(student) for student in RATES} if students is None else students
    teacher = {student: (teachers or {}).get(student, "big") for student in samples}
    cells = [
        {
            "label": TASK, "group": None, "protocol": "tau=with bonus token", "model": "",
            "teacher": teacher[student], "student": student, "key": f"key of {student}", "summary": {},
            "status": "done", "reason": "", "hardware": "Abacus", "ingredients": {},
            "metrics": [asdict(metric) for metric in (TAU, PASSES, SAME, TIMED)], "samples": student,
            **changes.get(student, {}),
        }
        for student in samples
    ]  # fmt: skip
    pairs = [
        {
            "name": f"pair-{s}", "teacher": teacher[s], "student": s,
            "baseline": None if s == baseline else baseline,
        }
        for s in samples
    ]  # fmt: skip
    record = {"header": {"pairs": pairs, "seed": 0, "confidence": 0.95}, "cells": cells}
    return Results(name, record, lambda student: columns_of(samples[student]))


def gate(sentence: str) -> Gate:
    return Gate(**parse_sentence(sentence))


def claims(sentence: str, now: Results | None = None, **earlier: Results) -> list[Claim]:
    return claims_of([gate(sentence)], Setting(now or results(), earlier))


def findings(sentence: str, now: Results | None = None) -> list[Finding]:
    return judged(claims(sentence, now))


def outcome(sentence: str, now: Results | None = None) -> str:
    (finding,) = findings(sentence, now)
    return finding.outcome


def reason(sentence: str, now: Results | None = None) -> str:
    (claim,) = claims(sentence, now)
    assert isinstance(claim.evidence, Missing)
    return claim.evidence.reason


@pytest.mark.parametrize("sentence", [
    "tau@5 for pair-good better than poor by 0.1",
    "tau@5 for pair-good better than baseline by 0.1",
    "tau@5.gain_over[poor] for pair-good >= 0.1",
    "tau@5.gain_over_baseline for pair-good >= 0.1",
])  # fmt: skip
def test_a_gain_is_the_paired_difference_that_the_table_has_over_clusters(sentence: str) -> None:
    (claim,) = claims(sentence)
    assert isinstance(claim.evidence, Evidence)
    both = join(samples_of("poor"), samples_of("good"))
    (row,) = against_student(TAU, both, 0.9, "gain_over[poor]")
    assert claim.evidence.estimate(0.9) == row.estimate
    assert row.estimate is not None and row.estimate.n_clusters == 20
    assert claim.cells == ("key of good", "key of poor") and not claim.at_any_time
    assert outcome(sentence) == "PASS"


def test_better_lies_where_the_metric_says() -> None:
    assert outcome("passes for pair-good better than poor by 0.01") == "PASS"
    assert outcome("passes for pair-poor better than good") == "FAIL"
    assert outcome("passes for pair-poor no worse than good by 0.5") == "PASS"
    assert outcome("tau@5 for pair-poor no worse than good by 0.5") == "FAIL"
    assert outcome("same for pair-good better than poor by 0.9") == "FAIL"


def test_equal_is_no_worse_and_not_better() -> None:
    assert outcome("tau@5 for pair-twin no worse than good") == "PASS"
    assert outcome("tau@5 for pair-twin better than good") == "FAIL"


def test_without_a_pair_every_other_student_is_meant() -> None:
    assert [claim.about for claim in claims("tau@5 better than poor")] == ["pair-good", "pair-twin"]
    assert [claim.about for claim in claims("tau@5.gain_over[good] >= 0")] == [
        "pair-poor", "pair-twin",
    ]  # fmt: skip
    alone = results(students={"good": samples_of("good")}, baseline=None)
    assert "good is not compared with itself" in reason("tau@5 better than good", alone)


def test_only_the_samples_of_a_tag_are_compared() -> None:
    (claim,) = claims(f"tau@5 on {TASK} where category=math for pair-good better than poor")
    assert isinstance(claim.evidence, Evidence)
    estimate = claim.evidence.estimate(0.95)
    math = [[s for s in samples_of(name) if s.tags["category"] == "math"] for name in RATES]
    tops, bottoms = (
        [[s.scores["tau@5"][part] for s in own] for own in math[:2]] for part in (0, 1)
    )
    expected = stats.difference_of_ratios((tops[0], bottoms[0]), (tops[1], bottoms[1]))
    assert (estimate.value, estimate.n) == (pytest.approx(expected.value), 20)


def test_the_sentence_of_the_evidence_names_both_students() -> None:
    (finding,) = findings("tau@5 for pair-good better than poor")
    said = finding.explain()
    assert said.startswith(f"tau@5 on {TASK} for pair-good better than poor with confidence 0.95: ")
    assert "pair-good minus poor in tau@5" in said and "tokens/pass" in said
    assert (
        "the whole interval is above 0.000, so PASS (40 samples, 20 clusters, 95 % interval)"
        in said
    )
    (finding,) = findings("tau@5.gain_over[poor] for pair-good >= 0.5")
    assert "tau@5.gain_over[poor] on speculative.replay/made of pair-good is" in finding.explain()


def test_earlier_results_of_a_ratio_are_compared_too() -> None:
    before = results("../old", {"good": samples_of("poor"), "poor": samples_of("poor")})
    for sentence, expected in (
        ("tau@5 for pair-good no worse than ../old", "PASS"),
        ("tau@5 for pair-good better than ../old by 0.3", "PASS"),
        ("tau@5 for pair-poor better than ../old", "FAIL"),
    ):
        (finding,) = judged(claims(sentence, **{"../old": before}))
        assert (finding.outcome, finding.claim.against) == (expected, "../old")


def test_what_cannot_be_compared_says_why() -> None:
    assert reason("tau@5 for pair-good better than goood") == (
        f"goood is no other student of big on {TASK}; there are poor, twin"
    )
    assert "is not compared with itself" in reason("tau@5 for pair-poor better than poor")
    assert "pair-poor has no baseline" in reason("tau@5 for pair-poor no worse than baseline")
    apart = results(teachers={"poor": "other"})
    assert "there are twin" in reason("tau@5 for pair-good better than poor", apart)
    assert "not timed in the same rounds" in reason("step for pair-good better than poor")
    broken = results(poor={"status": "failed", "reason": "no memory"})
    assert "on poor: no memory" in reason("tau@5 for pair-good better than poor", broken)


@pytest.mark.parametrize(
    "sentence", ["retention of tau@5 >= 0.5", "gap of tau@5 >= 0", "tau@5.lost <= 9"]
)
def test_what_pairs_derive_from_models_is_not_taken_for_a_pairs_own_number(sentence: str) -> None:
    for claim in claims(sentence):
        assert isinstance(claim.evidence, Missing)
        assert "tau@5 belongs to pairs" in claim.evidence.reason


def test_texts_that_only_one_draft_was_judged_on_are_counted() -> None:
    fewer = results(students={"good": samples_of("good"), "poor": samples_of("poor")[:38]})
    (claim,) = claims("tau@5 for pair-good better than poor", fewer)
    assert isinstance(claim.evidence, Evidence) and claim.evidence.unmatched == ("0038", "0039")
    far = results(students={"good": samples_of("good"), "poor": samples_of("poor")[:20]})
    assert "share 20 of 40 samples" in reason("tau@5 for pair-good better than poor", far)


def test_students_of_models_metrics_are_compared_by_the_same_words() -> None:
    samples = {name: samples_of(name) for name in RATES}
    cells = [
        {
            "label": "reasoning/made", "group": None, "protocol": "p=1", "model": name, "teacher": "",
            "student": "", "key": name, "summary": {}, "status": "done", "reason": "",
            "hardware": "Abacus", "ingredients": {}, "metrics": [asdict(SAME)], "samples": name,
        }
        for name in samples
    ]  # fmt: skip
    pairs = [{"name": s, "teacher": "big", "student": s, "baseline": None} for s in samples]
    record = {"header": {"pairs": pairs, "seed": 0, "confidence": 0.95}, "cells": cells}
    now = Results("now", record, lambda name: columns_of(samples[name]))
    expected = stats.difference(
        *([s.scores["same"] for s in samples[n]] for n in ("good", "poor")),
        [s.cluster for s in samples["good"]],
    )
    for sentence in ("same for good better than poor", "same.gain_over[poor] for good >= 0"):
        (claim,) = claims(sentence, now)
        assert isinstance(claim.evidence, Evidence) and claim.cells == ("good", "poor")
        assert claim.evidence.estimate(0.95).value == pytest.approx(expected.value)
