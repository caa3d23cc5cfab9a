"""The GitHub Action's script, the pre-commit hooks, and planted regressions of the quickstart."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from made_results import publish

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


def test_the_action_can_measure_no_more_than_the_gates_need(
    environment: dict[str, str], tmp_path: Path
) -> None:
    text = SUITE.replace("GATE", "0.5").replace("[parity]", "[{task: parity, count: 1000}]")
    (tmp_path / "suite.yaml").write_text(text)
    code, log, summary, _ = run(
        tmp_path, environment, KDBENCH_SUITE="suite.yaml", KDBENCH_RUN="until-decided"
    )
    assert code == 0, log
    assert "gates decided" in log and "PASS" in summary


# ---- planted regressions: the quickstart's committed results, and what is worse than they

WATCHED = [
    "acc on reasoning/quickstart_reading for forward-kl no worse than ../before by 0.05",
    "exact_match on reasoning/quickstart_word_problems for forward-kl no worse than ../before by 0.05",
]
GATED = ("tasks/reading.yaml", "tasks/word_problems.yaml")
FORWARD_KL = Path("suites/quickstart/models/forward-kl")
ON_POLICY = Path("suites/quickstart/models/on-policy")


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """The suite's two gated tasks, with gates against its committed results, which lie in `before`."""
    shutil.copytree(ROOT / "suites", tmp_path / "suites")
    shutil.copytree(ROOT / "results" / "quickstart", tmp_path / "before")
    suite = tmp_path / "suites" / "quickstart.yaml"
    text = suite.read_text()
    kept = yaml.safe_load(text)
    kept["tasks"] = [
        task
        for task in kept["tasks"]
        if task["task"] == "reasoning" and task["lm_eval"].endswith(GATED)
    ]
    assert len(kept["tasks"]) == len(GATED)
    kept["gates"] = WATCHED
    suite.write_text(yaml.safe_dump(kept))
    return tmp_path


def call(folder: Path, environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["kdbench", *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def gated(folder: Path, environment: dict[str, str], code: int, *said: str) -> None:
    """Measure the suite; the command line and the Action both end with `code` and say so much."""
    suite = "suites/quickstart.yaml"
    measured, log = call(folder, environment, "run", suite, "-q", "--results", "now")
    assert measured == 0, log
    found, text = call(folder, environment, "check", suite, "--results", "now", "--explain")
    assert found == code, text
    assert all(words in text for words in said), text
    found, log, *_ = run(folder, environment, KDBENCH_SUITE=suite, KDBENCH_RESULTS="now")
    assert found == code, log


@pytest.mark.slow
def test_noise_in_the_weights_is_found_and_the_untouched_student_is_not_blamed(
    quickstart: Path, environment: dict[str, str]
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    file = quickstart / FORWARD_KL / "model.safetensors"
    weights = load_file(file)
    noise = torch.Generator().manual_seed(0)
    for name, tensor in weights.items():
        spread = tensor.float().std()
        weights[name] = tensor + 0.4 * spread * torch.randn(tensor.shape, generator=noise)
    save_file(weights, file, metadata={"format": "pt"})
    gated(quickstart, environment, 1, "so FAIL")
    code, text = call(
        quickstart, environment, "compare", "before#on-policy", "now/quickstart", "--margin", "0.05"
    )
    assert code == 0, text


@pytest.mark.slow
def test_a_tokenizer_that_lost_half_of_its_merges_is_found(
    quickstart: Path, environment: dict[str, str]
) -> None:
    file = quickstart / FORWARD_KL / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    merges = tokenizer["model"]["merges"]
    tokenizer["model"]["merges"] = merges[: len(merges) // 2]
    file.write_text(json.dumps(tokenizer))
    gated(quickstart, environment, 1, "so FAIL")


@pytest.mark.slow
def test_a_changed_prompt_is_refused_as_another_protocol(
    quickstart: Path, environment: dict[str, str]
) -> None:
    recipe = quickstart / "suites" / "quickstart" / "tasks" / "word_problems.yaml"
    text = recipe.read_text()
    assert "Question:" in text
    recipe.write_text(text.replace("Question:", "Problem:"))
    gated(quickstart, environment, 3, "never compared", "recipe was")


@pytest.mark.slow
def test_a_model_under_the_wrong_name_is_refused_by_its_fingerprint(
    quickstart: Path, environment: dict[str, str]
) -> None:
    shutil.rmtree(quickstart / FORWARD_KL)
    shutil.copytree(quickstart / ON_POLICY, quickstart / FORWARD_KL)
    gated(quickstart, environment, 3, "forward-kl is now what ../before calls on-policy")


@pytest.mark.slow
def test_a_student_that_is_the_teacher_itself_is_refused(
    quickstart: Path, environment: dict[str, str]
) -> None:
    shutil.rmtree(quickstart / FORWARD_KL)
    teacher = quickstart / FORWARD_KL.parent / "teacher"
    shutil.copytree(teacher, quickstart / FORWARD_KL)
    gated(quickstart, environment, 3, "forward-kl and its teacher teacher are one and the same")


SPEED = """\
name: speed
models:
  teacher: {adapter: parity, seconds: 0.004}
  student: {adapter: parity, salt: s, seconds: SECONDS}
pairs:
  - {teacher: teacher, student: student, method: kl}
tasks: [{task: parity.speed, count: 64}]
gates: [speedup for student >= 1.3]
"""


@pytest.mark.parametrize(("seconds", "code"), [("0.002", 0), ("0.008", 1)])
def test_a_student_that_has_become_slow_is_found(
    environment: dict[str, str], tmp_path: Path, seconds: str, code: int
) -> None:
    (tmp_path / "suite.yaml").write_text(SPEED.replace("SECONDS", seconds))
    measured, log = call(tmp_path, environment, "run", "suite.yaml", "-q")
    assert measured == 0, log
    assert call(tmp_path, environment, "check", "suite.yaml")[0] == code
    assert run(tmp_path, environment, KDBENCH_SUITE="suite.yaml")[0] == code


def test_the_committed_results_are_no_worse_than_themselves(
    quickstart: Path, environment: dict[str, str]
) -> None:
    shutil.copytree(quickstart / "before", quickstart / "now" / "quickstart")
    code, text = call(
        quickstart,
        environment,
        "compare",
        "before#forward-kl",
        "now/quickstart",
        "--margin",
        "0.05",
    )
    assert code == 0, text
