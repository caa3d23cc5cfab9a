"""Image classifiers of scikit-learn's digits through the command line: rows, gates, page, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pictures

from kdbench.results.table import read_csv

SUITE = """
name: digits
models:
  large: {adapter: classifier, path: large}
  small: {adapter: classifier, path: small}
  tiny: {adapter: classifier, path: tiny}
pairs:
  - {teacher: large, student: small, method: forward KL, baseline: tiny}
tasks:
  - {task: classification, data: digits}
settings: {device: cpu, dtype: float32}
gates:
  - retention of acc on classification/digits for small >= 0.5
  - agreement on classification/digits for small >= 0.3
"""


def fitted(folder: Path, width: int) -> None:
    """A random network whose last layer is fitted to 600 digits by ridge regression."""
    import torch
    from transformers import AutoImageProcessor, ResNetForImageClassification

    tiny_pictures.save_classifier(folder, width=width)
    model = ResNetForImageClassification.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder, use_fast=True)
    images, labels = tiny_pictures.digits(600, start=300)
    with torch.inference_mode():
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        features = model.eval().resnet(pixels).pooler_output.flatten(1).double().numpy()
    columns = np.hstack([features, np.ones((600, 1))])
    wanted = np.eye(10)[labels]
    gram = columns.T @ columns + 1e-4 * np.eye(columns.shape[1])
    weights = 8 * np.linalg.solve(gram, columns.T @ wanted).T
    head = model.classifier[1]
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights[:, :-1]))
        head.bias.copy_(torch.from_numpy(weights[:, -1]))
    model.config.id2label = {n: str(n) for n in range(10)}
    model.config.label2id = {str(n): n for n in range(10)}
    model.save_pretrained(folder)


@pytest.mark.slow
def test_a_pair_of_classifiers_is_measured_gated_and_drawn(kdbench: Any, tmp_path: Path) -> None:
    from kdbench.leaderboard import build

    for name, width in (("large", 64), ("small", 16), ("tiny", 4)):
        fitted(tmp_path / name, width)
    images, labels = tiny_pictures.digits(200)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "digits" / str(label) / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(tiny_pictures.png(image))
    (tmp_path / "digits.yaml").write_text(SUITE)
    kdbench("run", "digits.yaml")
    found = read_csv(tmp_path / "results" / "digits" / "metrics.csv")
    rows = {(row.role, row.model, row.metric): row for row in found}
    assert {(row.status, row.n) for row in found} == {("ok", 200)}
    large, small = rows["teacher", "large", "acc"], rows["student", "small", "acc"]
    assert large.value > small.value > rows["student", "tiny", "acc"].value  # type: ignore[operator]
    kept = rows["pair", "small", "acc.retention"]
    assert kept.value == pytest.approx(small.value / large.value)  # type: ignore[operator]
    assert kept.ci_low < kept.value < kept.ci_high  # type: ignore[operator]
    gap = rows["pair", "small", "acc.gained"].value - rows["pair", "small", "acc.lost"].value  # type: ignore[operator]
    assert gap == pytest.approx(rows["pair", "small", "acc.gap"].value)
    assert rows["pair", "small", "acc.gain_over_baseline"].value > 0  # type: ignore[operator]
    agreement, kl = (rows["pair", "small", name] for name in ("agreement", "forward_kl"))
    assert 0.3 < agreement.value < 1 and kl.value > 0  # type: ignore[operator]
    assert "compared=between teacher and student" in kl.protocol
    assert len([row for row in found if row.role == "teacher" and row.metric == "acc"]) == 1
    assert ("pair", "tiny", "agreement") not in rows
    assert "nothing to do" in kdbench("run", "digits.yaml").stdout
    assert kdbench("check", "digits.yaml").stdout.count("PASS") >= 2
    table = (tmp_path / "results" / "digits" / "metrics.csv").read_text()
    kdbench("table", "results/digits", "--rebuild")
    assert (tmp_path / "results" / "digits" / "metrics.csv").read_text() == table
    build([str(tmp_path / "results")], tmp_path / "site")
    text = (tmp_path / "site" / "data" / "front.js").read_text()
    assert '"classification"' in text
    panels = [path.name for path in (tmp_path / "site" / "panels").glob("*.js")]
    assert panels == ["reliability.js"]


@pytest.mark.slow
def test_what_can_not_be_compared_is_a_failed_cell_with_its_reason(
    kdbench: Any, tmp_path: Path
) -> None:
    for name in ("large", "small"):
        tiny_pictures.save_classifier(tmp_path / name, width=4)
    place = tmp_path / "digits" / "zebra" / "1.png"
    place.parent.mkdir(parents=True)
    place.write_bytes(tiny_pictures.png(tiny_pictures.digits(1)[0][0]))
    suite = SUITE.partition("  tiny:")[0] + "pairs: [{teacher: large, student: small}]\n"
    suite += "tasks: [{task: classification, data: digits}]\nsettings: {device: cpu}\n"
    (tmp_path / "digits.yaml").write_text(suite)
    kdbench("run", "digits.yaml", code=1)
    found = read_csv(tmp_path / "results" / "digits" / "metrics.csv")
    assert {row.status for row in found} == {"failed"}
    assert {row.role for row in found} == {"teacher", "student", "pair"}
    assert "label 'zebra': the teacher has no class of that name" in found[0].reason
    place.parent.rename(tmp_path / "digits" / "3")
    place = tmp_path / "digits" / "3" / "1.png"
    place.write_bytes(b"\x89PNG")
    kdbench("run", "digits.yaml", code=1)
    found = read_csv(tmp_path / "results" / "digits" / "metrics.csv")
    assert "digits/3/1.png: can't be read as an image" in found[0].reason
    place.unlink()
    done = kdbench("validate", "digits.yaml", code=3)
    assert "no images in it" in done.stdout + done.stderr
