"""The GitHub Action's script, the pre-commit hooks, and planted regressions of the quickstart."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from made_results import publish

from kdbench.results.published import Published

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / ".github" / "actions" / "check"

SUITE = """\
name: made
models:
  teacher: {adapter: parity}
  good: {adapter: parity, wrong: 0.1}
pairs:
  - {teacher: teacher, student: good, method: kl}
tasks: [parity]
gates:
  - acc for good >= GATE
"""


def run(folder: Path, environment: dict[str, str], **given: str) -> tuple[int, str, str, str]:
    """Exit code, log, summary and outputs of the script."""
    paths = {name: folder / name for name in ("summary", "outputs")}
    for path in paths.values():
        path.write_text("")
    done = subprocess.run(
        ["bash", str(ACTION / "check.sh")], cwd=folder, capture_output=True, text=True, check=False,
        env={
            **environment, "GITHUB_STEP_SUMMARY": str(paths["summary"]),
            "GITHUB_OUTPUT": str(paths["outputs"]), **given,
        },
    )  # fmt: skip
    summary, outputs = (path.read_text() for path in paths.values())
    return done.returncode, done.stdout + done.stderr, summary, outputs


@pytest.mark.parametrize(
    ("gate", "code", "verdict"),
    [("0.5", 0, "PASS"), ("0.99", 1, "FAIL"), ("0.83", 2, "INCONCLUSIVE")],
)
def test_the_action_passes_the_verdict_on(
    environment: dict[str, str], tmp_path: Path, gate: str, code: int, verdict: str
) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE.replace("GATE", gate))
    publish(tmp_path / "results" / "made", tasks=["parity/odd"], students={"good": 0.8}, n=100)
    found, log, summary, outputs = run(tmp_path, environment, KDBENCH_SUITE="suite.yaml")
    assert found == code, log
    assert summary.startswith(f"## kdbench check: {verdict}")
    assert f"verdict={verdict}" in outputs and f"exit-code={code}" in outputs
    assert (tmp_path / "kdbench-reports" / "gates.xml").is_file()
    assert ("::error" in log or "::warning" in log) == (code != 0)


def test_the_action_can_run_the_suite_first(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE.replace("GATE", "0.5"))
    code, log, summary, _ = run(
        tmp_path, environment, KDBENCH_SUITE="suite.yaml", KDBENCH_RUN="true", KDBENCH_RESULTS="out"
    )
    assert code == 0, log
    assert "PASS" in summary and (tmp_path / "out" / "made" / "metrics.csv").is_file()


def test_hostile_inputs_are_names_and_nothing_more(
    environment: dict[str, str], tmp_path: Path
) -> None:
    hostile = '$(touch broken); "; touch broken; #'
    code, log, _, outputs = run(
        tmp_path, environment, KDBENCH_SUITE=hostile, KDBENCH_BASELINE="--help"
    )
    assert code == 3, log
    assert not (tmp_path / "broken").exists()
    assert "verdict=none" in outputs
    for step in yaml.safe_load((ACTION / "action.yml").read_text())["runs"]["steps"]:
        assert "${{" not in step["run"], "inputs pass by the environment"


def test_the_hooks_of_pre_commit_are_commands_that_run(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()):
        done = subprocess.run(
            [*hook["entry"].split(), str(ROOT / "suites" / "quickstart.yaml")],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


# ---- planted regressions: the quickstart's committed results, and what is worse than they


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "suites", tmp_path / "suites")
    shutil.copytree(ROOT / "results" / "quickstart", tmp_path / "before")
    return tmp_path


def measured(folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["kdbench", "run", "suites/quickstart.yaml", "-q", "--results", "now"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def compared(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["kdbench", "compare", "before#forward-kl", "now/quickstart", "--margin", "0.05"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_noise_in_the_weights_is_found_and_the_untouched_student_is_not_blamed(
    quickstart: Path, environment: dict[str, str]
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    file = quickstart / "suites" / "quickstart" / "models" / "forward-kl" / "model.safetensors"
    weights = load_file(file)
    noise = torch.Generator().manual_seed(0)
    for name, tensor in weights.items():
        spread = tensor.float().std()
        weights[name] = tensor + 0.4 * spread * torch.randn(tensor.shape, generator=noise)
    save_file(weights, file, metadata={"format": "pt"})
    measured(quickstart, environment)
    done = compared(quickstart, environment)
    assert done.returncode == 1 and "FAIL  " in done.stdout, done.stdout + done.stderr
    others = subprocess.run(
        ["kdbench", "compare", "before#on-policy", "now/quickstart", "--margin", "0.05"],
        cwd=quickstart, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert others.returncode == 0, others.stdout + others.stderr


@pytest.mark.slow
def test_a_changed_prompt_is_refused_as_another_protocol(
    quickstart: Path, environment: dict[str, str]
) -> None:
    recipe = quickstart / "suites" / "quickstart" / "tasks" / "word_problems.yaml"
    text = recipe.read_text()
    assert "Question:" in text
    recipe.write_text(text.replace("Question:", "Problem:"))
    measured(quickstart, environment)
    done = compared(quickstart, environment)
    assert done.returncode == 3
    assert "never compared" in done.stderr and "recipe was" in done.stderr


def test_the_committed_results_are_no_worse_than_themselves(
    quickstart: Path, environment: dict[str, str]
) -> None:
    shutil.copytree(quickstart / "before", quickstart / "now" / "quickstart")
    assert Published(quickstart / "before").table.is_file()
    done = compared(quickstart, environment)
    assert done.returncode == 0, done.stdout
