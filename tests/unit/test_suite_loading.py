"""A suite that is right is resolved: names, defaults, overrides, adapters and tasks."""

# ruff: noqa: F401, F811 - fixtures are imported

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from suite_fakes import GOOD, Folder, Load, Quiz, Server, load, only_fakes, told

from kdbench import registry
from kdbench.errors import SettingsConflictError, SuiteError, UnknownNameError
from kdbench.models.adapter import LoadSettings
from kdbench.suite import PairSpec, load_suite, shipped_suite

Told = Callable[[str | bytes], list[str]]

SMALL = """\
models: {a: weights/a, b: weights/b}
pairs: [{teacher: a, student: b}]
tasks: [speed]
"""


def test_a_suite_knows_where_it_came_from(load: Load, tmp_path: Path) -> None:
    suite = load(GOOD)
    assert (suite.name, suite.about) == ("good", "every section and every form")
    assert (suite.file, suite.folder, suite.text) == (Path("s.yaml"), tmp_path, GOOD)


def test_everything_but_models_pairs_and_tasks_has_a_default(load: Load) -> None:
    suite = load(SMALL)
    assert (suite.name, suite.about, suite.gates) == ("s", "", ())
    assert suite.settings.model_dump() == {
        "limit": None,
        "seed": 0,
        "dtype": "auto",
        "device": "auto",
        "batch_size": "auto",
        "confidence": 0.95,
        "workers": 1,
        "results": Path("results"),
    }
    assert suite.models["a"].load == LoadSettings()
    assert suite.pairs == (PairSpec(name="b", teacher="a", student="b"),)


def test_empty_optional_sections_count_as_left_out(load: Load) -> None:
    empty, without = load(SMALL + "settings:\ngates:\n"), load(SMALL)
    assert (empty.settings, empty.gates) == (without.settings, without.gates)


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Suite.yaml", "my-suite"), ("a.b_c-1.yml", "a.b_c-1"), ("..yaml", "suite"), ("é.yaml", "suite")],
)  # fmt: skip
def test_the_default_name_comes_from_the_file(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / file).write_text(SMALL)
    assert load_suite(tmp_path / file).name == name


def test_a_string_is_the_path_of_the_default_adapter(load: Load) -> None:
    suite = load(GOOD)
    assert suite.models["scratch"].adapter == "transformers"
    assert suite.models["scratch"].params == Folder.Params(path="hf:org/scratch@main")
    gguf = load(SMALL.replace("weights/b", "weights/b.gguf"))
    assert gguf.models["b"].params.path == "weights/b.gguf"


def test_a_model_overrides_the_settings_for_itself(load: Load) -> None:
    models = load(GOOD).models
    assert models["big"].load == LoadSettings("bfloat16", "cuda:1", 16, False)
    assert models["small"].load == LoadSettings("float32", "cuda:1", 4, True)
    assert models["served"].load == LoadSettings("bfloat16", "cpu", 16, False)
    auto = load(GOOD.replace("batch_size: 4", "batch_size: auto")).models["small"]
    assert auto.load.batch_size is None


def test_a_model_gives_its_adapter_bound_and_not_loaded(load: Load, tmp_path: Path) -> None:
    served = load(GOOD).adapter("served")
    assert isinstance(served, Server)
    assert served.params == Server.Params(base_url="http://127.0.0.1:8080/v1", model="tiny")
    assert (served.folder, served.settings.device) == (tmp_path, "cpu")


def test_an_unknown_model_is_told_with_the_nearest(load: Load) -> None:
    with pytest.raises(UnknownNameError, match=r"no model named 'smal' \(did you mean 'small'\?\)"):
        load(GOOD).adapter("smal")


def test_a_matrix_stands_for_one_pair_per_student(load: Load) -> None:
    assert load(GOOD).pairs == (
        PairSpec(name="small", teacher="big", student="small", method="forward-kl", baseline="scratch"),
        PairSpec(name="scratch-of-big", teacher="big", student="scratch", method="none"),
        PairSpec(name="served-of-big", teacher="big", student="served", method="sft", baseline="scratch"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("students", "expected"),
    [
        ("all", [("small", "kd"), ("scratch", "kd"), ("served", "kd")]),
        ("[served, small]", [("served", "kd"), ("small", "kd")]),
        ("{served: sft, small: null}", [("served", "sft"), ("small", "kd")]),
    ],
)
def test_students_are_a_list_a_mapping_or_all(
    load: Load, students: str, expected: list[tuple[str, str]]
) -> None:
    head, _, rest = GOOD.partition("pairs:\n")
    tail = rest[rest.index("tasks:\n") : rest.index("gates:\n")]
    text = f"{head}pairs:\n  - {{teacher: big, students: {students}, method: kd}}\n{tail}"
    assert [(pair.student, pair.method) for pair in load(text).pairs] == expected


def test_all_students_of_a_lonely_teacher_are_none(told: Told) -> None:
    text = "models: {a: x}\npairs: [{teacher: a, students: all}]\ntasks: [speed]\n"
    assert told(text) == [
        "s.yaml:2:32: pairs[0].students: there is no other model than the teacher"
    ]


def test_only_models_that_a_pair_has_are_used(load: Load) -> None:
    text = SMALL.replace("b: weights/b", "c: x, base: y, b: weights/b")
    text = text.replace("student: b", "student: b, baseline: base")
    assert load(text).used_models() == ["a", "base", "b"]


def test_a_task_entry_may_stand_for_several_tasks(load: Load) -> None:
    tasks = load(GOOD).tasks
    assert [(task.label, task.group, task.limit) for task in tasks] == [
        ("quiz/gsm8k", None, 100),
        ("quiz/arc", None, 200),
        ("quiz/mmlu_law", "quiz/mmlu", None),
        ("quiz/mmlu_logic", "quiz/mmlu", None),
        ("speed/decode", None, 100),
    ]
    assert tasks[0].metrics == ("acc", "acc_norm")


def test_a_task_spec_builds_its_task(load: Load, tmp_path: Path) -> None:
    task = load(GOOD).tasks[1].build()
    assert isinstance(task, Quiz)
    assert (task.params.lm_eval, task.params.num_fewshot, task.folder) == ("arc", 5, tmp_path)


def test_task_params_may_be_tuples_paths_unions_and_nested_models(load: Load) -> None:
    written = "tags: [x, y], folder: sub, bins: auto, steps: {a: 1}, scale: {low: 0}"
    suite = load(SMALL.replace("speed", f"{{task: quiz/arc, {written}}}"))
    params = suite.tasks[0].params
    assert (params.tags, params.folder, params.bins) == (("x", "y"), Path("sub"), "auto")
    assert (params.steps, params.scale.low, params.scale.high) == ({"a": 1}, 0.0, 1.0)


def test_the_value_after_the_slash_may_hold_slashes(load: Load, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.yaml").touch()
    (task,) = load(SMALL.replace("speed", "quiz/sub/mine.yaml")).tasks
    assert (task.params.lm_eval, task.label) == ("sub/mine.yaml", "quiz/mine")


def test_the_same_task_with_other_params_is_another_task(load: Load) -> None:
    tasks = "{task: quiz/arc, num_fewshot: 0}, {task: quiz/arc, num_fewshot: 5}"
    assert len(load(SMALL.replace("speed", tasks)).tasks) == 2


def test_names_that_look_like_numbers_are_names(load: Load) -> None:
    suite = load('models: {1: x, "2": y}\npairs: [{teacher: "1", student: "2"}]\ntasks: [speed]\n')
    assert list(suite.models) == ["1", "2"]


def test_all_problems_come_at_once_in_the_order_of_the_file(told: Told) -> None:
    text = (
        GOOD.replace("student: small", "student: smal")
        .replace("limit: 100", "limit: ten")
        .replace("adapter: server", "adapter: sever")
        .replace("num_fewshot: 5", "num_fewshot: five")
        .replace("pair: small", "pair: smal")
    )
    assert [line.split(": ")[0] for line in told(text)] == [
        "s.yaml:8:14",
        "s.yaml:13:29",
        "s.yaml:22:18",
        "s.yaml:27:10",
    ]


def test_a_wrong_section_raises_no_problems_in_others(told: Told) -> None:
    assert told(GOOD.replace("models:\n", "models: 5\nxmodels:\n")) == [
        "s.yaml:3:9: models: expected a mapping, got 5",
        "s.yaml:4:1: unknown key 'xmodels'; remove it",
    ]


def test_a_plugin_that_cannot_be_imported_is_told_where_its_task_is_named(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        name, value = "mine", "no_such_package.tasks"

        def load(self) -> None:
            raise ImportError("No module named 'no_such_package'")

    monkeypatch.setattr(
        registry, "entry_points", lambda group: [Broken()] * (group == "kdbench.tasks")
    )
    monkeypatch.setattr(registry, "tasks", registry.Registry("task", (), "kdbench.tasks"))
    (line,) = told(SMALL.replace("speed", "mine/x"))
    assert line.startswith("s.yaml:3:9: tasks[0]: the plugin 'no_such_package.tasks'")
    assert line.endswith("mend or uninstall its package")


def test_a_place_in_the_file_can_be_told_later(load: Load) -> None:
    suite = load(GOOD)
    assert str(suite.problem(("models", "small"), "m")) == "s.yaml:5:10: models.small: m"
    assert str(suite.problem(("tasks", 3), "m")) == "s.yaml:25:5: tasks[3]: m"


def test_the_file_is_shown_as_it_was_given(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("- models")
    with pytest.raises(SuiteError, match=rf"^{file}:1:1: a suite is a mapping"):
        load_suite(str(file))


def test_a_suite_and_its_parts_cannot_be_changed(load: Load) -> None:
    suite = load(GOOD)
    for thing, name in ((suite, "name"), (suite.settings, "seed"), (suite.tasks[0], "limit")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(thing, name, 1)


def test_a_suite_can_be_sent_to_another_process(load: Load) -> None:
    suite = load(GOOD)
    copy = pickle.loads(pickle.dumps(suite))
    assert copy == suite
    assert copy.problem(("models",), "m") == suite.problem(("models",), "m")


def test_settings_of_the_command_line_win_over_the_file(load: Load) -> None:
    changed = load(GOOD).with_settings(
        dtype="float64", device="mps", batch_size=2, seed=1, workers=3
    )
    assert (changed.settings.seed, changed.settings.workers) == (1, 3)
    for model in changed.models.values():
        assert (model.load.dtype, model.load.device, model.load.batch_size) == ("float64", "mps", 2)
    assert changed.models["small"].load.trust_remote_code


@pytest.mark.parametrize(
    ("limit", "expected"), [(50, [50, 50, 50, 50, 50]), (500, [500, 200, 500, 500, 500])]
)
def test_a_limit_of_the_command_line_only_lowers_a_tasks_own(
    load: Load, limit: int, expected: list[int]
) -> None:
    assert [task.limit for task in load(GOOD).with_settings(limit=limit).tasks] == expected


def test_no_settings_change_nothing(load: Load) -> None:
    suite = load(GOOD)
    assert suite.with_settings() is suite


def test_impossible_settings_of_the_command_line_are_told(load: Load) -> None:
    with pytest.raises(SettingsConflictError) as caught:
        load(GOOD).with_settings(dtype="bf16", batch_size=0)
    assert str(caught.value) == (
        "--dtype: expected 'auto', 'float32', 'bfloat16', 'float16' or 'float64', got 'bf16' "
        "(did you mean 'bfloat16'?)\n--batch-size: must be at least 1, got 0"
    )


def test_a_suite_that_ships_is_found_by_its_name() -> None:
    file = shipped_suite("quickstart")
    assert file.name == "quickstart.yaml"
    assert file.is_file()
    with pytest.raises(SuiteError, match=r"^quikstart: no such file.*did you mean 'quickstart'"):
        shipped_suite("quikstart")


def test_ten_models_and_ten_tasks_load_in_less_than_a_tenth_of_a_second(load: Load) -> None:
    names = [f"m{i}" for i in range(10)]
    text = "models:\n" + "".join(f"  {n}: {{path: weights/{n}, dtype: float32}}\n" for n in names)
    text += "pairs:\n  - {teacher: m0, students: all, method: kd, baseline: m1}\ntasks:\n"
    text += "".join(f"  - {{task: quiz/t{i}, num_fewshot: 5, limit: 10}}\n" for i in range(10))
    text += "gates:\n" + "".join(f"  - retention of acc on quiz/t{i} >= 0.9\n" for i in range(10))
    load(text)
    fastest = 1.0
    for _ in range(5):
        began = time.perf_counter()
        load(text)
        fastest = min(fastest, time.perf_counter() - began)
    assert fastest < 0.1


def test_importing_the_suite_imports_nothing_heavy() -> None:
    code = "import sys, kdbench.suite; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in found.stdout.split()}
    heavy = {
        "torch",
        "transformers",
        "lm_eval",
        "datasets",
        "scipy",
        "pandas",
        "numpy",
        "typer",
        "rich",
    }
    assert not loaded & heavy
    assert {"pydantic", "yaml"} <= loaded


def test_a_task_can_be_about_some_pairs_only(load: Load) -> None:
    text = """\
models: {a: weights/a, b: weights/b, c: weights/c}
pairs: [{teacher: a, students: [b, c]}]
tasks: [{task: speed, pairs: [c*]}, {task: quiz, lm_eval: history}]
"""
    suite = load(text)
    assert [[pair.name for pair in task.about(suite.pairs)] for task in suite.tasks] == [
        ["c"],
        ["b", "c"],
    ]


def test_a_pair_that_a_task_names_must_be_there(told: Told) -> None:
    text = SMALL.replace("[speed]", "[{task: speed, pairs: [a]}]")
    assert told(text) == ["s.yaml:3:31: tasks[0].pairs[0]: no pair named 'a'"]
