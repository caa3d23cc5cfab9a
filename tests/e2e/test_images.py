"""Images through the command line: small real pipelines, one pass, a table that is rebuilt without torch."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_pictures import digits, save_classifier, save_digit_generator, write_images

from suites import rows, value, without_timestamps

SCORES = "[frechet, frechet_infinity, kernel, prdc, vendi, distance_per_prompt]"
STUDENT = """
import time
from kdbench.models.images import to_uint8
import numpy as np

class Smudge:
    steps = 1

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def generate_images(self, requests):
        time.sleep(self.seconds)
        return [
            to_uint8(np.random.default_rng(one.seed).uniform(size=(8, 8, 1)) ** (1 + one.label))
            for one in requests
        ]
"""


def _suite(folder: Path, images: int = 640, seconds: float = 0.0) -> Path:
    save_digit_generator(folder / "teacher", steps=2, guidance=2.0)
    save_classifier(folder / "classifier")
    write_images(folder / "real.zip", digits(600)[0])
    (folder / "smudge.py").write_text(STUDENT)
    path = folder / "digits.yaml"
    path.write_text(
        f"""
models:
  teacher: {{adapter: diffusers, path: teacher}}
  student:
    {{adapter: callable, target: "smudge:Smudge", verbs: [generate_images], options: {{seconds: {seconds}}}}}
pairs:
  - {{teacher: teacher, student: student, method: none at all}}
tasks:
  - {{task: images, name: digits, labels: 10, images: {images}, per_prompt: 2, encoder: classifier,
      reference: real.zip, gallery: 6, spill: true, metrics: {SCORES}}}
  - {{task: equal_noise, name: digits, labels: 10, images: 32, encoder: classifier, gallery: 4}}
gates:
  - frechet[classifier].gap on images/digits <= 1000
  - frechet[classifier] on images/digits <= 1000
  - retention of vendi[classifier] on images/digits >= 0.01
"""
    )
    return path


@pytest.mark.slow
def test_killed_and_run_again_the_table_is_that_of_an_undisturbed_run(
    environment, kdbench, tmp_path: Path
) -> None:
    suite = _suite(tmp_path, seconds=0.3)
    change = {"KDBENCH_CACHE": str(tmp_path / "cache")}
    kdbench("run", suite, "-q", "--results", "whole", **change)

    run = subprocess.Popen(
        [sys.executable, "-m", "kdbench", "run", str(suite), "-q", "--results", "killed"],
        cwd=tmp_path, env={**environment, **change}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        logs = [log.read_bytes() for log in tmp_path.glob("killed/cells/*/samples.jsonl")]
        # the teacher's images for `equal_noise`, its own, and the student's, which are slow
        if len(logs) == 3 and any(3 <= log.count(b'"commit"') < 10 for log in logs):
            break
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    kept = sum(log.count(b'"commit"') for log in logs)
    assert kept < 21, "the run was over before it could be killed"
    # a block whose features are there and whose samples are not, as a kill between the two leaves it
    (half,) = [
        p
        for p in tmp_path.glob("killed/cells/*")
        if b'"done"' not in (p / "cell.json").read_bytes()
    ]
    with (half / "artifacts" / "classifier.rows").open("r+b") as marks:
        marks.seek(0, 2)
        marks.write(b"\x01" * 8)
    time.sleep(0.5)
    kdbench("run", suite, "-q", "--results", "killed", **change)
    whole = tmp_path / "whole" / "digits" / "metrics.csv"
    assert without_timestamps(tmp_path / "killed" / "digits" / "metrics.csv") == without_timestamps(
        whole
    )

    found = rows(whole)
    assert not [row["reason"] for row in found if row["status"] == "failed"]
    teacher = value(found, "frechet[classifier]", role="teacher")
    student = value(found, "frechet[classifier]", role="student")
    assert (teacher["steps"], student["steps"], teacher["n"], teacher["n_clusters"]) == (
        "4",
        "1",
        "640",
        "320",
    )
    assert float(teacher["ci_low"]) < float(teacher["value"]) < float(teacher["ci_high"])
    gap = value(found, "frechet[classifier].gap")
    assert float(gap["value"]) == pytest.approx(
        float(student["value"]) - float(teacher["value"]), abs=1e-6
    )
    assert gap["steps"] == "1" and gap["ci_method"] == "grouped jackknife (16)"
    assert value(found, "coverage[classifier].retention")["status"] in ("ok", "skipped")
    assert value(found, "distance_per_prompt[classifier].retention")["status"] == "ok"
    for metric in ("frechet_infinity", "kernel"):
        assert value(found, f"{metric}[classifier].gap")["status"] == "ok"
    assert 0 < float(value(found, "psnr")["value"]) < 50
    assert "images=640" in teacher["protocol"] and "reference=shared" in teacher["protocol"]

    spilled = list(tmp_path.glob("whole/cells/*/artifacts/images/*.png"))
    assert len(spilled) == 2 * 640 + 32

    # the table and the site come from samples and summaries alone
    before = whole.read_text()
    whole.unlink()
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise ImportError('no torch here')")
    without = {**change, "PYTHONPATH": f"{blocked}:{environment['PYTHONPATH']}"}
    kdbench("table", "whole/digits", "--rebuild", **without)
    assert whole.read_text() == before
    kdbench("check", suite, "--results", "whole", **without)
    kdbench("leaderboard", "build", "whole", "--out", "site", **without)
    drawn = {}
    for file in (tmp_path / "site" / "data" / "panels").glob("*.js"):
        content = file.read_text()
        drawn[file.name] = json.loads(content[content.index(",") + 1 : content.rindex(")")])
    sheets = [data["rows"] for data in drawn.values() if "rows" in data]
    assert sorted(map(len, sheets)) == [4, 6]
    for row in (row for sheet in sheets for row in sheet):
        for role in ("teacher", "student"):
            assert base64.b64decode(row[role][0]).startswith(b"\x89PNG")
    (quality,) = [data for data in drawn.values() if "steps" in data]
    assert quality["steps"] == {"teacher": 4, "student": 1}
    assert {"frechet[classifier]", "distance_per_prompt[classifier]"} <= {
        m["metric"] for m in quality["metrics"]
    }
    (fit,) = [data for data in drawn.values() if "teacher" in data and "sizes" in data["teacher"]]
    assert fit["metric"] == "frechet_infinity[classifier]"


@pytest.mark.slow
def test_bad_images_too_few_images_and_a_foreign_reference_are_told(
    kdbench, tmp_path: Path
) -> None:
    save_classifier(tmp_path / "classifier")
    save_classifier(tmp_path / "other", seed=4)
    pictures, labels = digits(60)
    told = [{"label": label % 10} for label in labels]
    ordered = sorted(range(60), key=lambda i: (labels[i], i))
    asked = [{"label": index % 10} for index in range(60)]
    write_images(tmp_path / "good", [pictures[i] for i in ordered], asked)
    write_images(tmp_path / "bad", pictures, asked)
    (tmp_path / "bad" / "00003.png").write_bytes((tmp_path / "bad" / "00003.png").read_bytes()[:60])
    write_images(tmp_path / "short", pictures[:50], told[:50])
    change = {"KDBENCH_CACHE": str(tmp_path / "cache")}
    kdbench(
        "reference",
        "make",
        "good",
        "--encoder",
        "classifier",
        "--weights",
        "other",
        "-o",
        "ref.npz",
        "--features",
    )
    suite = tmp_path / "s.yaml"
    suite.write_text(
        """
models:
  good: {adapter: image_folder, path: good, steps: 50}
  bad: {adapter: image_folder, path: bad, steps: 1}
  short: {adapter: image_folder, path: short}
pairs:
  - {teacher: good, students: [bad, short]}
tasks:
  - {task: images, name: some, labels: 10, images: 60, encoder: other, reference: ref.npz, metrics: [kernel]}
  - {task: images, name: few, labels: 10, images: 60, encoder: other, reference: ref.npz,
     metrics: [kernel, vendi], limit: 30}
  - {task: images, name: foreign, labels: 10, images: 60, encoder: classifier, reference: ref.npz,
     metrics: [kernel]}
"""
    )
    done = kdbench("run", suite, code=1, **change)
    assert "bad/00003.png: is damaged or cut short" in done.stdout
    assert "requests have no image: label" in done.stdout
    found = rows(tmp_path / "results" / "s" / "metrics.csv")
    kept = value(found, "kernel[classifier]", role="teacher", task="images/some")
    assert (kept["status"], kept["steps"], kept["n"]) == ("ok", "50", "60")
    refused = value(found, "kernel[classifier]", role="teacher", task="images/few")
    assert refused["status"] == "skipped", refused["reason"]
    assert "needs at least 50 images, here are 30" in refused["reason"]
    foreign = value(found, "kernel[classifier]", role="teacher", task="images/foreign")
    assert "a reference of another protocol: its weights is" in foreign["reason"]
