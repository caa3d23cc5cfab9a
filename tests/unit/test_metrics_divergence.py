"""Divergences of distributions against closed forms and their own laws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbench.metrics.divergence import divergences


def logs(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_two_coins_have_the_divergences_of_the_textbook():
    found = divergences(logs([0.5, 0.5]), logs([0.9, 0.1]))
    forward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    reverse = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert float(found.forward_kl[0]) == pytest.approx(forward)
    assert float(found.reverse_kl[0]) == pytest.approx(reverse)
    assert float(found.total_variation[0]) == pytest.approx(0.4)


def test_a_token_that_the_student_rules_out_makes_the_forward_kl_infinite_only():
    found = divergences(logs([0.5, 0.5]), logs([1.0, 0.0]))
    assert math.isinf(float(found.forward_kl[0]))
    assert float(found.reverse_kl[0]) == pytest.approx(math.log(2))
    assert float(found.total_variation[0]) == pytest.approx(0.5)


def test_a_token_that_neither_can_say_makes_no_difference():
    found = divergences(logs([0.5, 0.5, 0.0]), logs([0.5, 0.5, 0.0]))
    assert float(found.forward_kl[0]) == 0 and float(found.reverse_kl[0]) == 0


def test_agreement_counts_the_most_probable_tokens():
    teacher = logs([0.4, 0.3, 0.2, 0.06, 0.03, 0.01], [0.4, 0.3, 0.2, 0.06, 0.03, 0.01])
    student = logs([0.5, 0.2, 0.1, 0.1, 0.06, 0.04], [0.01, 0.4, 0.3, 0.2, 0.06, 0.03])
    found = divergences(teacher, student)
    assert found.top1.tolist() == [1.0, 0.0]
    assert found.top5.tolist() == pytest.approx([1.0, 0.8])


SHARES = st.lists(st.floats(0.01, 1), min_size=6, max_size=6)


@given(SHARES, SHARES)
def test_the_laws_hold_for_any_two_distributions(one, other):
    teacher, student = (
        torch.tensor([shares], dtype=torch.float64).log().log_softmax(-1) for shares in (one, other)
    )
    found, turned = divergences(teacher, student), divergences(student, teacher)
    forward, reverse = float(found.forward_kl[0]), float(found.reverse_kl[0])
    variation = float(found.total_variation[0])
    assert forward == pytest.approx(float(turned.reverse_kl[0]), abs=1e-12)
    assert forward >= 0 and reverse >= 0 and 0 <= variation <= 1
    assert variation <= math.sqrt(forward / 2) + 1e-9  # Pinsker
    assert variation == pytest.approx(float(turned.total_variation[0]))
    shared = torch.minimum(teacher.exp(), student.exp()).sum()
    assert 1 - variation == pytest.approx(float(shared))
    reference = torch.nn.functional.kl_div(student, teacher, log_target=True, reduction="sum")
    assert forward == pytest.approx(float(reference), abs=1e-9)
