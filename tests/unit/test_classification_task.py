"""`classification`: closed forms, the numbers of scikit-learn and torchmetrics, and pairs that can't be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdbench.errors import TaskError
from kdbench.metrics.calibration import debiased_calibration_error
from kdbench.models.protocols import Classified
from kdbench.results.sample import Sample
from kdbench.tasks.aggregate import aggregate
from kdbench.tasks.classification.task import (
    Classification,
    ClassificationParams,
    aligned,
    between,
    of_model,
)
from kdbench.tasks.panel import PanelInput
from kdbench.tasks.panels import reliability
from kdbench.tasks.task import Context


class Told:
    """A classifier whose probabilities are written down, by the grey level of the image."""

    def __init__(self, labels: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
        self.labels, self.rows = list(labels), rows

    def classify(self, images: Sequence[np.ndarray]) -> list[Classified]:
        rows = [self.rows[int(image[0, 0, 0])] for image in images]
        return [Classified(int(np.argmax(row)), tuple(row)) for row in rows]


def task(tmp_path: Path, labels: Sequence[Any], **params: Any) -> Classification:
    levels = np.arange(len(labels), dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None], (len(labels), 2, 2)).copy()
    np.savez(tmp_path / "grey.npz", images=images, labels=labels)
    return Classification(ClassificationParams(data="grey.npz", **params), tmp_path)


def measured(own: Classification, teacher: Any, student: Any) -> list[Sample]:
    return own.measure(teacher, student, own.items(None), Context(0))


def drawn(count: int, classes: int, seed: int) -> np.ndarray:
    sure = np.random.default_rng(seed).normal(0, 2, (count, classes))
    weights = np.exp(sure)
    return weights / weights.sum(axis=1, keepdims=True)


def test_each_score_is_its_formula(tmp_path: Path) -> None:
    own = task(tmp_path, ["b", "a"])
    teacher = Told("ab", [[0.25, 0.75], [0.25, 0.75]])
    student = Told("ab", [[0.5, 0.5], [0.75, 0.25]])
    one, other = measured(own, teacher, student)
    assert (one.target, one.extra["teacher"]["output"]) == ("b", "b")
    assert one.scores["teacher.acc"] == 1 and other.scores["teacher.acc"] == 0
    assert one.scores["teacher.nll"] == pytest.approx(-math.log(0.75))
    assert other.scores["teacher.brier"] == pytest.approx(0.75**2 * 2)
    assert one.scores["teacher.ece"] == [0.75, 1.0]
    assert one.scores["student.acc"] == 0  # of equals the first
    kl = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert one.scores["forward_kl"] == pytest.approx(kl)
    assert one.scores["total_variation"] == pytest.approx(0.25)
    assert [s.scores["agreement"] for s in (one, other)] == [0.0, 0.0]
    assert "teacher.acc5" not in one.scores
    assert "2 classes apart" in one.extra["skipped"]["student.acc5"]


def test_accuracy_and_likelihood_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import log_loss, top_k_accuracy_score

    gold = np.random.default_rng(0).integers(0, 12, 300)
    rows = drawn(300, 12, 1)
    scores, _ = of_model(rows, gold.tolist())
    labels = list(range(12))
    assert np.mean(scores["acc"]) == top_k_accuracy_score(gold, rows, k=1, labels=labels)
    assert np.mean(scores["acc5"]) == top_k_accuracy_score(gold, rows, k=5, labels=labels)
    assert np.mean(scores["nll"]) == pytest.approx(log_loss(gold, rows, labels=labels))
    truth = np.eye(12)[gold]
    assert np.mean(scores["brier"]) == pytest.approx(((rows - truth) ** 2).sum(1).mean())
    ece = aggregate("calibration_error", scores["ece"]).value
    confidence, right = zip(*scores["ece"], strict=True)
    assert ece == pytest.approx(debiased_calibration_error(confidence, right))


def test_agreement_and_divergence_are_those_of_torchmetrics() -> None:
    import torch
    from torchmetrics import KLDivergence
    from torchmetrics.functional.classification import multiclass_accuracy

    ours, theirs = drawn(200, 9, 2), drawn(200, 9, 3)
    found = between(ours, theirs)
    kl = KLDivergence()(torch.from_numpy(ours), torch.from_numpy(theirs))
    assert np.mean(found["forward_kl"]) == pytest.approx(float(kl))
    kl = KLDivergence()(torch.from_numpy(theirs), torch.from_numpy(ours))
    assert np.mean(found["reverse_kl"]) == pytest.approx(float(kl))
    same = multiclass_accuracy(
        torch.from_numpy(theirs), torch.from_numpy(ours).argmax(1), 9, average="micro"
    )
    assert np.mean(found["agreement"]) == pytest.approx(float(same))


def test_no_score_depends_on_the_block_that_an_image_is_measured_in(tmp_path: Path) -> None:
    own = task(tmp_path, [0, 1, 2, 0, 1, 2])
    models = Told("abc", drawn(6, 3, 0).tolist()), Told("abc", drawn(6, 3, 1).tolist())
    items = own.items(None)
    parts = [own.measure(*models, items[n : n + 2], Context(0)) for n in (0, 2, 4)]
    whole = own.measure(*models, items, Context(0))
    assert [s.scores for part in parts for s in part] == [s.scores for s in whole]
    assert len({item.id for item in items}) == 6


def test_classes_in_another_order_are_matched_by_their_names(tmp_path: Path) -> None:
    own = task(tmp_path, ["cat", "dog"])
    rows = [[0.1, 0.7, 0.2], [0.3, 0.1, 0.6]]
    teacher = Told(["ant", "cat", "dog"], rows)
    student = Told(["dog", "ant", "cat"], [[r[2], r[0], r[1]] for r in rows])
    for sample in measured(own, teacher, student):
        assert sample.scores["forward_kl"] == pytest.approx(0)
        assert sample.scores["student.acc"] == sample.scores["teacher.acc"] == 1
    assert aligned(["a", "b"], ["LABEL_0", "LABEL_1"]) == [0, 1]


def test_a_file_of_names_gives_labels_their_places(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("tench\ngoldfish\n")
    own = task(tmp_path, ["goldfish"], classes="names.txt")
    model = Told(["LABEL_0", "LABEL_1"], [[0.2, 0.8]])
    (sample,) = measured(own, model, model)
    assert sample.scores["teacher.acc"] == 1
    assert own.identity() == {"classes": ["tench", "goldfish"]}
    (tmp_path / "names.txt").write_text("tench\n")
    own = task(tmp_path, ["tench"], classes="names.txt")
    with pytest.raises(TaskError, match="names 1 classes, and the teacher tells 2 apart"):
        measured(own, model, model)


def test_numbers_as_names_of_folders_are_places_unless_they_are_names(tmp_path: Path) -> None:
    own = task(tmp_path, ["1", "0"])
    rows = [[0.2, 0.8], [0.9, 0.1]]
    plain = Told(["LABEL_0", "LABEL_1"], rows)
    assert [s.scores["teacher.acc"] for s in measured(own, plain, plain)] == [1, 1]
    named = Told(["1", "0"], rows)
    assert [s.scores["teacher.acc"] for s in measured(own, named, named)] == [0, 0]


def test_models_of_different_classes_are_no_pair(tmp_path: Path) -> None:
    own = task(tmp_path, ["a"])
    with pytest.raises(TaskError, match="the teacher tells 2 classes apart and the student 3"):
        measured(own, Told("ab", [[0.5, 0.5]]), Told("abc", [[0.5, 0.25, 0.25]]))


def test_the_calibration_panel_draws_classifiers() -> None:
    rows = drawn(60, 4, 5)
    gold = [int(n) for n in np.random.default_rng(1).integers(0, 4, 60)]
    scores, chosen = of_model(rows, gold)
    samples = [
        Sample(
            str(n), n, str(n), {"brier": scores["brier"][n]},
            extra={"choice": chosen[n][0], "confidence": chosen[n][1], "gold": gold[n]},
        )
        for n in range(60)
    ]  # fmt: skip
    given = PanelInput(
        "classification/x", [], 0.95, lambda: iter(zip(samples, samples, strict=True)), lambda: iter(())
    )  # fmt: skip
    found = reliability.data(given)
    assert found["n"] == 60
    assert found["teacher"]["brier"]["value"] == pytest.approx(np.mean(scores["brier"]))
    assert sum(one["n"] for one in found["student"]["bins"]) == 60
