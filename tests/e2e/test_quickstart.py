"""The suite that ships, on the models that ship."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from suites import rows, without_timestamps

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "suites" / "quickstart.yaml"
SHIPPED = ROOT / "results" / "quickstart"
TIMED = ("efficiency.", "speculative.loop")
LIGHT = """
import sys
from kdbench.cli import main
sys.argv = ["kdbench", *{arguments!r}]
try:
    main()
finally:
    heavy = {{"torch", "transformers", "lm_eval", "datasets", "pandas", "scipy"}} & set(sys.modules)
    print("heavy:", sorted(heavy), file=sys.stderr)
"""


@pytest.fixture
def untimed(tmp_path) -> Path:
    """The quickstart without what is timed: that takes its time, and is never the same twice."""
    kept = yaml.safe_load(SUITE.read_text(encoding="utf-8"))
    kept["tasks"] = [task for task in kept["tasks"] if not task["task"].startswith(TIMED)]
    folder = tmp_path / "untimed"
    folder.mkdir()
    (folder / "quickstart").symlink_to(SUITE.parent / "quickstart")
    (folder / "quickstart.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    return folder / "quickstart.yaml"


def imports_of(arguments, environment, folder) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(arguments=[str(a) for a in arguments])],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["validate", SUITE], ["list", "tasks"], ["list", "adapters"], ["list", "metrics"],
     ["schema"], ["run", SUITE, "--dry-run"],
     ["show", f"reasoning/{SUITE.parent}/quickstart/tasks/reading.yaml"]],
    ids=["help", "validate", "tasks", "adapters", "metrics", "schema", "dry-run", "show"],
)  # fmt: skip
def test_light_commands_import_nothing_heavy(arguments, environment, tmp_path):
    assert imports_of(arguments, environment, tmp_path) == "heavy: []"


@pytest.mark.slow
def test_a_rerun_with_nothing_to_do_imports_nothing_heavy(kdbench, environment, untimed, tmp_path):
    kdbench("run", untimed, "--limit", "2", "--results", tmp_path)
    again = ["run", untimed, "--limit", "2", "--results", tmp_path]
    assert imports_of(again, environment, tmp_path) == "heavy: []"


@pytest.mark.slow
def test_the_shipped_models_give_the_shipped_samples(kdbench, untimed, tmp_path):
    from kdbench.results.published import Published

    kdbench("run", untimed, "--limit", "24", "--results", tmp_path)
    fresh, shipped = Published(tmp_path / "quickstart"), Published(SHIPPED)

    def identity(cell: dict) -> tuple[str, ...]:
        return tuple(cell[part] for part in ("label", "model", "teacher", "student"))

    by_subject = {identity(cell): cell["samples"] for cell in shipped.read_run()["cells"]}
    compared = 0
    for cell in fresh.read_run()["cells"]:
        expected = {s.id: s for s in shipped.read_samples(by_subject[identity(cell)])}
        for sample in fresh.read_samples(cell["samples"]):
            for metric, score in sample.scores.items():
                assert score == pytest.approx(expected[sample.id].scores[metric], abs=1e-3)
                compared += 1
    assert compared >= 24 * 4 * 4


@pytest.mark.parametrize("name", ["quickstart", "quickstart-images"])
def test_the_shipped_table_is_computed_from_the_shipped_samples(kdbench, tmp_path, name):
    shutil.copytree(SHIPPED.parent / name, tmp_path / name)
    table = tmp_path / name / "metrics.csv"
    before = table.read_text()
    table.unlink()
    kdbench("table", tmp_path / name, "--rebuild")
    assert table.read_text() == before


def test_the_shipped_images_show_what_fewer_steps_cost():
    """The teacher beats every student, and distillation beats the baseline, beyond the intervals."""
    found = rows(SHIPPED.parent / "quickstart-images" / "metrics.csv")
    gaps = {
        row["model"]: (float(row["ci_low"]), float(row["ci_high"]))
        for row in found
        if row["metric"] == "frechet[classifier].gap"
    }
    assert all(low > 0 for low, _ in gaps.values()) and len(gaps) == 3
    assert gaps["progressive"][1] < gaps["matching"][0] and gaps["matching"][1] < gaps["scratch"][0]
    lost = next(
        row
        for row in found
        if row["metric"] == "recall[classifier].gap" and row["model"] == "matching"
    )
    assert float(lost["ci_high"]) < 0, "distribution matching loses diversity"
    assert {
        row["steps"] for row in found if row["model"] == "matching" and row["role"] == "student"
    } == {"1"}


def test_the_shipped_results_show_what_the_quickstart_promises():
    """The teacher beats the students, and distillation beats the baseline, beyond the intervals."""
    found = rows(SHIPPED / "metrics.csv")
    skipped = {row["metric"] for row in found if row["status"] != "ok"}
    no_counter, no_difference = {"energy.teacher", "energy.student"}, {"divergence_margin@3"}
    assert skipped <= no_counter | no_difference
    gaps = {
        (row["task"].removeprefix("reasoning/quickstart_"), row["model"]): float(row["ci_high"])
        for row in found
        if row["metric"] in ("acc.gap", "exact_match.gap")
    }
    students = ("scratch", "forward-kl", "on-policy")
    assert all(gaps[task, s] < 0 for task in ("word_problems", "completion") for s in students)
    assert gaps["reading", "scratch"] < 0
    gains = [
        row
        for row in found
        if row["metric"] in ("acc.gain_over_baseline", "exact_match.gain_over_baseline")
    ]
    assert len(gains) == 6
    assert all(float(row["ci_low"]) > 0 for row in gains)


@pytest.mark.slow
def test_batch_sizes_give_the_same_rows(kdbench, untimed, tmp_path):
    tables = []
    for size in (1, 7):
        root = tmp_path / f"batch-{size}"
        kdbench("run", untimed, "--limit", "20", "--batch-size", size, "--results", root)
        tables.append(rows(root / "quickstart" / "metrics.csv"))
    for row, *others in zip(*tables, strict=True):
        for other in others:
            for column, text in row.items():
                if column in ("value", "ci_low", "ci_high") and text:
                    # float32 sums differ in the last digits with the shape of a batch
                    assert float(other[column]) == pytest.approx(float(text), rel=1e-5, abs=1e-6)
                elif column != "created":
                    assert other[column] == text


@pytest.mark.slow
def test_sigkill_while_real_models_answer_loses_nothing(environment, kdbench, untimed, tmp_path):
    arguments = [sys.executable, "-m", "kdbench", "run", str(untimed), "--limit", "20", "-q"]
    began = time.monotonic()
    kdbench("run", untimed, "--limit", "20", "-q", "--results", tmp_path / "whole")
    seconds = time.monotonic() - began
    expected = without_timestamps(tmp_path / "whole" / "quickstart" / "metrics.csv")
    draw = random.Random(2)
    for moment in range(2):
        root = tmp_path / f"killed-{moment}"
        run = subprocess.Popen([*arguments, "--results", str(root)], env=environment, cwd=tmp_path)
        time.sleep(draw.uniform(0.4, 0.95) * seconds)
        run.send_signal(signal.SIGKILL)
        run.wait()
        kdbench("run", untimed, "--limit", "20", "-q", "--results", root)
        assert without_timestamps(root / "quickstart" / "metrics.csv") == expected


def test_validate_of_the_quickstart_names_its_cells_and_no_download(kdbench):
    plan = json.loads(kdbench("validate", SUITE, "--json").stdout)
    subjects = {(cell["task"], *cell["subject"].values()) for cell in plan["cells"]}
    for task, models, pairs in (("reasoning", 4, 0), ("fidelity", 0, 3)):
        own = [subject for subject in subjects if subject[0].startswith(task)]
        names = {subject[0] for subject in own}
        assert len(own) == len(names) * (models + pairs)
    assert plan["downloads"] == []
    assert len({cell["key"] for cell in plan["cells"]}) == len(plan["cells"]) == len(subjects)


def keys(kdbench, suite: Path) -> dict[tuple[str, ...], str]:
    """Keys by task and models."""
    plan = json.loads(kdbench("validate", suite, "--json").stdout)
    return {(cell["task"], *cell["subject"].values()): cell["key"] for cell in plan["cells"]}


def test_a_suite_that_moved_with_its_models_and_data_finds_its_cells_again(kdbench, tmp_path):
    shutil.copytree(SUITE.parent, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "quickstart").rename(tmp_path / "elsewhere" / "renamed")
    moved = tmp_path / "elsewhere" / "quickstart.yaml"
    moved.write_text(moved.read_text().replace(" quickstart/", " renamed/"))
    assert keys(kdbench, moved) == keys(kdbench, SUITE)


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        (
            lambda folder: edit(folder / "data/reading.jsonl", "Friday", "Freitag"),
            ("reading", None),
        ),
        (
            lambda folder: edit(folder / "tasks/reading.yaml", "Recall:", "Again:"),
            ("reading", None),
        ),
        (
            lambda folder: flip_last_byte(folder / "models/scratch/model.safetensors"),
            (None, "scratch"),
        ),
        (
            lambda folder: edit(folder / "models/scratch/tokenizer.json", "kite", "kyte"),
            (None, "scratch"),
        ),
        (
            lambda folder: (folder / "models/scratch/chat_template.jinja").write_text("x"),
            (None, "scratch"),
        ),
    ],
    ids=["documents", "prompt", "weights", "tokenizer", "chat template"],
)
def test_a_changed_byte_misses_exactly_the_cells_that_it_can_change(
    kdbench, tmp_path, change, touched
):
    shutil.copytree(SUITE.parent, tmp_path / "suites")
    change(tmp_path / "suites" / "quickstart")
    before, after = keys(kdbench, SUITE), keys(kdbench, tmp_path / "suites" / "quickstart.yaml")
    changed = {cell for cell in before if before[cell] != after[cell]}
    task, model = touched
    assert changed == {
        cell
        for cell in before
        if (task is None or cell[0].endswith(f"/quickstart_{task}"))
        and (model is None or model in cell[1:])
    }


@pytest.mark.parametrize(
    "option", [("--seed", "1"), ("--dtype", "bfloat16")], ids=["seed", "dtype"]
)
def test_a_changed_setting_misses_every_cell(kdbench, tmp_path, option):
    def planned(*options: str) -> set[str]:
        shown = kdbench("run", SUITE, "--dry-run", "--json", *options).stdout
        return {cell["key"] for cell in json.loads(shown)["cells"]}

    assert planned() & planned(*option) == set()
    assert planned() == planned("--batch-size", "3") == planned("--limit", "5")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
