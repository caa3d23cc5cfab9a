"""Image models timed through the command line: the generators and the classifier that ship."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_pictures

from kdbench.results.table import read_csv

IMAGES = Path(__file__).resolve().parents[2] / "suites" / "quickstart" / "models" / "images"
SUITE = """
name: pictures
models:
  teacher: {{adapter: diffusers, path: {images}/teacher}}
  one-step: {{adapter: diffusers, path: {images}/matching}}
  large: {{adapter: classifier, path: {images}/classifier}}
  small: {{adapter: classifier, path: small}}
pairs:
  - {{teacher: teacher, student: one-step, method: distribution matching}}
  - {{teacher: large, student: small, method: none}}
tasks:
  - {{task: efficiency.image, pairs: [one-step], batch: [1], rounds: 6, min_seconds: 0}}
  - {{task: efficiency.classifier, pairs: [small], batch: [8, best], most: 8, rounds: 6, min_seconds: 0}}
settings: {{device: cpu, dtype: float32}}
gates:
  - speedup on efficiency/image/b1 >= 2
"""


@pytest.mark.slow
def test_generators_and_classifiers_are_timed_gated_and_drawn(kdbench: Any, tmp_path: Path) -> None:
    from kdbench.leaderboard import build

    tiny_pictures.save_classifier(tmp_path / "small", width=8)
    (tmp_path / "pictures.yaml").write_text(SUITE.format(images=IMAGES))
    kdbench("run", "pictures.yaml", KDBENCH_CACHE=str(tmp_path / "cache"))
    rows = read_csv(tmp_path / "results" / "pictures" / "metrics.csv")
    image = {row.metric: row for row in rows if row.task == "efficiency/image/b1"}
    assert image["steps.teacher"].value > image["steps.student"].value == 1  # type: ignore[operator]
    assert image["speedup"].status == "ok" and image["speedup"].steps == 1
    assert image["speedup"].ci_low > 2  # type: ignore[operator]
    assert image["denoiser.teacher"].value < image["latency.teacher"].value  # type: ignore[operator]
    assert image["decode.teacher"].status == "skipped"  # it works on pixels
    assert "loaded_dtype=float32" in image["speedup"].protocol
    kdbench("check", "pictures.yaml")
    best = {row.metric: row for row in rows if row.task == "efficiency/classifier/best"}
    assert best["speedup"].status == "ok" and 1 <= best["batch.teacher"].value <= 8  # type: ignore[operator]
    build([str(tmp_path / "results")], tmp_path / "site")
    drawn = [path.read_text() for path in (tmp_path / "site" / "data" / "panels").glob("*.js")]
    assert sum('"batches"' in one and '"images_per_second"' in one for one in drawn) >= 2
