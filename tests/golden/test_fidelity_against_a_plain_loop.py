"""The pair pass against a plain transformers loop in float64, and against the reasoning task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch

from kdbench.models.adapter import LoadSettings
from kdbench.models.pair_scoring import COLUMNS, compare
from kdbench.models.protocols import Continuation
from kdbench.models.transformers import TransformersAdapter, TransformersParams
from kdbench.tasks.fidelity import Fidelity
from kdbench.tasks.reasoning import Reasoning
from kdbench.tasks.task import Context

SHIPPED = Path(__file__).resolve().parents[2] / "suites" / "quickstart"
CONTEXT = Context(0)


def load(folder: Path) -> Any:
    params = TransformersParams(path=str(folder))
    return TransformersAdapter(params, folder, LoadSettings(device="cpu")).load()


@pytest.fixture(scope="module")
def teacher() -> Any:
    return load(SHIPPED / "models" / "teacher")


@pytest.fixture(scope="module")
def student() -> Any:
    return load(SHIPPED / "models" / "forward-kl")


def plainly(teacher: Any, student: Any, tokens: list[int], scored: int) -> list[list[float]]:
    """Every scored token's numbers, by the definitions, in float64."""
    both = []
    for model in (teacher, student):
        double = model.model.double()
        with torch.inference_mode():
            logits = double(torch.tensor([tokens[:-1]])).logits[0, -scored:]
        both.append(logits.log_softmax(-1))
        model.model.float()
    found = []
    for one, other, target in zip(*both, tokens[-scored:], strict=True):
        p, q = one.exp(), other.exp()
        fives = [set(x.topk(5).indices.tolist()) for x in (one, other)]
        found.append([
            float(one[target]), float(other[target]),
            float((p * (one - other)).sum()), float((q * (other - one)).sum()),
            float((p - q).abs().sum() / 2), float(one.argmax() == other.argmax()),
            len(fives[0] & fives[1]) / 5,
        ])  # fmt: skip
    return found


def test_every_token_has_the_numbers_of_a_plain_loop_in_float64(teacher, student):
    requests = [
        Continuation("Ann had 3 apples and found 4 more. How many?", f" {number}")
        for number in ("7", "12", "seven of them")
    ] + [Continuation("The shop opened", " at nine and closed at five")]
    rows = teacher.encoder.continuations(requests)
    for row, answer in zip(rows, compare(teacher, student, rows), strict=True):
        reference = plainly(teacher, student, list(row.tokens), row.scored)
        assert len(answer.tokens) == row.scored
        for ours, expected in zip(answer.tokens, reference, strict=True):
            assert ours == pytest.approx(expected[2:], abs=2e-4)
        assert answer.teacher.logprob == pytest.approx(sum(r[0] for r in reference), abs=1e-3)
        assert answer.student.logprob == pytest.approx(sum(r[1] for r in reference), abs=1e-3)
    assert len(COLUMNS) == 5


@pytest.mark.parametrize("name", ["reading", "completion", "rolling"])
def test_both_models_score_as_they_do_alone(teacher, student, name: str) -> None:
    params = Reasoning.Params(lm_eval=str(SHIPPED / "tasks" / f"{name}.yaml"))
    pair, alone = Fidelity(params, SHIPPED), Reasoning(params, SHIPPED)
    items = pair.items(24)
    together = pair.measure(teacher, student, items, CONTEXT)
    for role, model in (("teacher", teacher), ("student", student)):
        for sample, own in zip(together, alone.measure(model, items, CONTEXT), strict=True):
            assert sample.id == own.id
            for metric, score in own.scores.items():
                assert sample.scores[f"{role}_{metric}"] == pytest.approx(score, abs=1e-3)


def test_a_model_and_itself_are_no_distance_apart(teacher) -> None:
    params = Reasoning.Params(lm_eval=str(SHIPPED / "tasks" / "reading.yaml"))
    pair = Fidelity(params, SHIPPED)
    for sample in pair.measure(teacher, teacher, pair.items(8), CONTEXT):
        for metric in ("forward_kl", "reverse_kl", "total_variation"):
            assert sample.scores[metric][0] == pytest.approx(0, abs=1e-6)
        assert sample.scores["choice_agreement"] == 1
        assert sample.scores["top1_agreement"][0] == sample.scores["top1_agreement"][1]


def test_other_tokenizers_leave_choices_and_say_why_tokens_are_left_out(
    teacher, tmp_path: Path
) -> None:
    other = load(tiny_models.save_model(tmp_path / "other", context=600))
    params = Reasoning.Params(lm_eval=str(SHIPPED / "tasks" / "reading.yaml"))
    pair = Fidelity(params, SHIPPED)
    for sample in pair.measure(teacher, other, pair.items(8), CONTEXT):
        assert "forward_kl" not in sample.scores and "choice_agreement" in sample.scores
        assert "different tokenizers" in sample.extra["skipped"]["forward_kl"]
        assert {"teacher_acc", "student_acc", "teacher_brier"} <= sample.scores.keys()
