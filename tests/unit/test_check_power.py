"""Documents needed, planned and then drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_results import publish
from typer.testing import CliRunner

from kdbench import stats
from kdbench.check.power import documents_needed, spread_of_flips
from kdbench.cli import app
from kdbench.errors import SettingsConflictError


def test_the_number_is_the_textbooks() -> None:
    # (1.959964 + 0.841621)^2 * 0.3^2 / 0.05^2
    assert documents_needed(0.3, 0.05, 0.95, 0.8) == 283
    assert documents_needed(0.3, 0.0, 0.95, 0.8) is None


@pytest.mark.parametrize(("discordance", "difference"), [(0.1, 0.03), (0.2, 0.05), (0.3, 0.0)])
def test_planned_documents_pass_the_gate_as_often_as_planned(
    discordance: float, difference: float
) -> None:
    margin = 0.05
    distance = margin - difference if difference < margin else 0.0
    distance = distance or 0.05
    margin = difference + distance
    n = documents_needed(spread_of_flips(discordance, difference), distance, 0.95, 0.8)
    assert n is not None
    draws = np.random.default_rng(3)
    lost, gained = (discordance + difference) / 2, (discordance - difference) / 2
    passed = 0
    for _ in range(1000):
        change = draws.choice([-1.0, 1.0, 0.0], size=n, p=[lost, gained, 1 - discordance])
        teacher = np.where(change == 0, draws.integers(0, 2, n), (change < 0).astype(float))
        estimate = stats.difference(teacher + change, teacher)
        passed += estimate.low >= -margin
    assert passed / 1000 == pytest.approx(0.8, abs=0.04)


def test_what_no_two_models_could_have_is_refused() -> None:
    for discordance, difference in ((0.0, 0.0), (1.2, 0.0), (0.1, 0.2)):
        with pytest.raises(SettingsConflictError):
            spread_of_flips(discordance, difference)


SUITE = """\
name: made
models:
  teacher: {adapter: callable, target: "m:f", verbs: [generate_text]}
  good: {adapter: callable, target: "m:g", verbs: [generate_text]}
pairs:
  - {teacher: teacher, student: good, method: kl}
tasks: [reasoning/gsm8k]
gates:
  - exact_match[strict-match] >= 0.5
"""


def test_a_pilot_says_what_a_suites_gates_need(tmp_path: Path) -> None:
    from dataclasses import replace

    import made_results

    metric = replace(made_results.ACC, name="exact_match[strict-match]")
    renamed = {
        ("reasoning/gsm8k", model): [
            replace(s, scores={metric.name: s.scores["acc"]})
            for s in made_results.samples_of("reasoning/gsm8k", model, 200, rate)
        ]
        for model, rate in (("teacher", 0.9), ("good", 0.7))
    }
    target = publish(
        tmp_path / "made", students={"good": 0.7}, tasks=["reasoning/gsm8k"], samples=renamed
    )
    record = target.read_run()
    assert record is not None
    for cell in record["cells"]:
        cell["metrics"][0]["name"] = metric.name
    target.write_run(record)
    (tmp_path / "suite.yaml").write_text(SUITE)
    arguments = ["plan-power", str(tmp_path / "suite.yaml"), "--results", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output + repr(done.exception)
    need = json.loads(done.stdout)[0]
    values = [s.scores[metric.name] for s in renamed["reasoning/gsm8k", "good"]]
    assert need["present"] == 200
    assert need["distance"] == pytest.approx(np.mean(values) - 0.5)
    assert need["spread"] == pytest.approx(np.std(values), rel=0.03)
    wider = json.loads(CliRunner().invoke(app, [*arguments, "--difference", "0.01"]).stdout)[0]
    assert wider["needed"] > need["needed"]
    assert wider["seconds"] == pytest.approx((wider["needed"] - 200) * 1.0 / 200)


def test_a_gate_without_a_row_in_the_pilot_says_so(tmp_path: Path) -> None:
    publish(tmp_path / "made", students={"good": 0.7}, tasks=["parity/odd"])
    text = SUITE.replace(
        "exact_match[strict-match] >= 0.5", "exact_match[strict-match] no worse than ./x"
    )
    (tmp_path / "suite.yaml").write_text(text)
    arguments = ["plan-power", str(tmp_path / "suite.yaml"), "--results", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "no row of exact_match" in done.stdout


def test_without_a_pilot_the_discordance_will_do() -> None:
    arguments = ["plan-power", "--difference", "0.05", "--discordance", "0.1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    n = documents_needed(spread_of_flips(0.1), 0.05, 0.95, 0.8)
    assert f"{n} documents" in done.stdout
