"""What a suite file may be as a file and as YAML, and what is said where it is not that."""

# ruff: noqa: E501, F401, F811 - a table of messages reads best unbroken; fixtures are imported

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from suite_fakes import GOOD, Load, load, only_fakes, told

from kdbench.errors import SuiteError
from kdbench.suite import load_suite
from kdbench.suite.yaml_source import MAX_VALUES, parse_yaml

Told = Callable[[str | bytes], list[str]]


def data_of(text: str) -> Any:
    return parse_yaml(text, "s.yaml").data


# fmt: off
BROKEN = [
    ("", "s.yaml: there is nothing in this file; a suite needs `models`, `pairs` and `tasks`"),
    ("# only a comment\n", "s.yaml: there is nothing in this file; a suite needs `models`, `pairs` and `tasks`"),
    ("- a\n", "s.yaml:1:1: a suite is a mapping (models: ..., pairs: ..., tasks: ...), got a list"),
    ("\nhello\n", "s.yaml:2:1: a suite is a mapping (models: ..., pairs: ..., tasks: ...), got 'hello'"),
    ("a:\n\tb: 1\n", "s.yaml:2:1: a tab can't stand here; indent with spaces"),
    ("a: 1\n b: 2\n", "s.yaml:2:3: not valid YAML: a second ':' on one line, or a line indented too far (text that holds ': ' needs quotes)"),
    ("a:\n  b: 1\n c: 2\n", "s.yaml:3:2: not valid YAML: this line's indentation fits none of the lines above it"),
    ("a: 1\nbcd\ne: 2\n", "s.yaml:2:1: not valid YAML: expected 'key: value', found no ':'"),
    ("a: 1\nb: 'x\n", "s.yaml:2:4: not valid YAML: this quote is never closed"),
    ("a: [1, 2\nb: 3\n", "s.yaml:2:2: not valid YAML: expected ',' or ']', but got ':'"),
    ("a: *\n", "s.yaml:1:5: not valid YAML: text that begins with '*' needs quotes"),
    ("a: @b\n", "s.yaml:1:4: not valid YAML: found character '@' that cannot start any token; text that begins with it needs quotes"),
    ("a: *gone\n", "s.yaml:1:4: not valid YAML: found undefined alias 'gone'"),
    ("a: 1\n---\nb: 2\n", "s.yaml:2:1: a second YAML document begins here; remove the '---' line or what follows it"),
    ("a: 1\nb: \x07\n", "s.yaml:2:4: the control character U+0007 can't stand in YAML; remove it"),
    ('a: "\\0"\n', "s.yaml:1:4: a: the character '\\x00' can't stand in a text; remove it"),
    ('a: "\\ud800"\n', "s.yaml:1:4: a: the character '\\ud800' can't stand in a text; remove it"),
    ('a: "\\UFFFFFFFF"\n', "s.yaml:1:7: not valid YAML: Python int too large to convert to C int"),
    ("a: !!python/name:os.system\n", "s.yaml:1:4: a: the YAML tag !!python/name:os.system can't be used here; remove it"),
    ("a: !mine [1]\n", "s.yaml:1:4: a: the YAML tag !mine can't be used here; remove it"),
    ("a: !!set {b}\n", "s.yaml:1:4: a: the YAML tag !!set can't be used here; remove it"),
    ("a: !!int x\n", "s.yaml:1:4: a: 'x' can't be read as !!int"),
    ("a: {[b]: 1}\n", "s.yaml:1:5: a: a key must be text, not a list or a mapping"),
    ("a: &x\n  b: [*x]\n", "s.yaml:1:4: a.b[0]: this anchor holds an alias of itself"),
    ("a: &x\n  <<: *x\n", "s.yaml:1:4: a: this mapping merges itself ('<<')"),
    ("a:\n  <<: 5\n", "s.yaml:2:7: a: '<<' merges a mapping or a list of mappings"),
    (f"a: {'9' * 5000}\n", "s.yaml:1:4: a: a number of 5,000 digits is too long"),
    (f"a: {'[' * 5000}\n", "s.yaml:1:43: lists and mappings are nested more than 40 deep"),
]
# fmt: on


@pytest.mark.parametrize(("text", "line"), BROKEN)
def test_yaml_that_is_no_suite_is_refused_at_its_place(told: Told, text: str, line: str) -> None:
    assert told(text) == [line]


def test_a_duplicate_key_is_refused_and_the_rest_is_still_checked(told: Told) -> None:
    text = GOOD.replace("  big: weights/big\n", "  big: weights/big\n  big: other\n")
    assert told(text.replace("seed: 7", "seed: seven")) == [
        "s.yaml:5:3: models: the key 'big' is here twice (first on line 4); remove or rename one",
        "s.yaml:29:9: settings.seed: expected a whole number, got 'seven'",
    ]


def test_a_number_and_its_quoted_twin_are_the_same_key() -> None:
    assert [str(p) for p in parse_yaml('5: a\n"5": b\n', "s.yaml").problems] == [
        "s.yaml:2:1: the key '5' is here twice (first on line 1); remove or rename one"
    ]


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    assert data_of("[yes, off, 12:30, 2024-01-31, 1_000, on, =, ~x]") == [
        "yes", "off", "12:30", "2024-01-31", "1_000", "on", "=", "~x",
    ]  # fmt: skip
    assert data_of("[010, 0o17, 0x1F, -3, +4]") == [10, 15, 31, -3, 4]
    assert data_of("[1e3, 1.5, .5, -2., 1E-2, !!float 3]") == [1000.0, 1.5, 0.5, -2.0, 0.01, 3.0]
    assert data_of("[true, FALSE, null, ~, !!str 5]") == [True, False, None, None, "5"]
    assert data_of("[.inf, -.INF]") == [math.inf, -math.inf]
    assert math.isnan(data_of(".nan"))


def test_keys_are_text_whatever_they_look_like() -> None:
    assert data_of("{on: 1, 5: 2, true: 3, null: 4}") == {"on": 1, "5": 2, "true": 3, "null": 4}


def test_aliases_and_merge_keys_work_and_the_own_keys_win() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 0}\nd: *a\ne: {<<: *b}"
    data = data_of(text)
    assert data["c"] == {"x": 0, "y": 2, "z": 4}
    assert data["d"] == data["a"]
    assert data["e"] == {"y": 3, "z": 4}


def test_a_mistake_in_a_merged_mapping_is_told_where_it_is_written(told: Told) -> None:
    text = GOOD.replace("about: every", "about: &wrong many # every")
    text = text.replace("num_fewshot: 5", "<<: {num_fewshot: *wrong}")
    assert told(text) == ["s.yaml:2:8: tasks[1].num_fewshot: expected a whole number, got 'many'"]


def test_aliases_that_unfold_without_end_are_refused_quickly(told: Told) -> None:
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for level in range(1, 12):
        bomb += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    (line,) = told(bomb)
    assert line.endswith(f"aliases unfold this file to more than {MAX_VALUES:,} values")


def test_aliases_that_nest_too_deeply_are_refused(told: Told) -> None:
    text = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 50))
    (line,) = told(text)
    assert line.endswith(": lists and mappings are nested more than 40 deep")


def test_merges_that_nest_too_deeply_are_refused(told: Told) -> None:
    unread = "".join(f"x: &a{i} {{<<: *a{i - 1}}}\n" for i in range(1, 2000))
    (line,) = told("x: &a0 {k: 1}\n" + unread + "b: *a1999\n")
    assert line.endswith(": b: merges ('<<') of merges go more than 40 deep")


def test_merges_of_merges_are_resolved_once_each() -> None:
    text = "a0: &a0 {x: 1}\n"
    for level in range(1, 30):
        text += f"a{level}: &a{level} {{<<: [*a{level - 1}, *a{level - 1}]}}\n"
    assert data_of(text)["a29"] == {"x": 1}


def test_positions_are_one_based_in_characters_also_after_a_byte_order_mark() -> None:
    source = parse_yaml("\ufeffé: ü\n", "s.yaml")
    assert str(source.problem(("é",), "m")) == "s.yaml:1:4: ['é']: m"
    assert str(source.problem(("é",), "m", at_key=True)) == "s.yaml:1:1: m"


def test_windows_line_ends_are_fine_and_the_text_is_kept_exactly(load: Load) -> None:
    text = GOOD.replace("\n", "\r\n")
    assert load(text).text == text


def test_a_file_that_is_not_utf8_is_refused_with_the_byte_and_its_place(told: Told) -> None:
    assert told(b"models:\n  \xc3\xa9: caf\xe9\n") == [
        "s.yaml:2:9: not UTF-8 (byte 0xe9); save the file as UTF-8"
    ]


def test_a_file_too_large_for_a_suite_is_not_read_whole(told: Told) -> None:
    assert told(b"#" * (1 << 20) + b"#") == [
        "s.yaml: larger than 1 MiB, so this is no suite; name a suite's YAML file"
    ]


def refusal(path: str | Path) -> str:
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    return str(caught.value)


def test_a_missing_file_is_told_with_its_nearest_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("suites").mkdir()
    Path("suites/quickstart.yaml").write_text(GOOD)
    assert refusal("suites/quikstart.yaml") == (
        "suites/quikstart.yaml: no such file (did you mean 'suites/quickstart.yaml'?)"
    )
    assert refusal("suites/quickstart") == (
        "suites/quickstart: no such file (did you mean 'suites/quickstart.yaml'?)"
    )
    assert refusal("suites/zzz") == "suites/zzz: no such file; the suites there are quickstart.yaml"
    assert (
        refusal("gone/a.yaml") == "gone/a.yaml: no such file; the folder gone doesn't exist either"
    )
    assert refusal("a.yaml") == "a.yaml: no such file"


def test_a_folder_is_told_with_a_suite_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("suites").mkdir()
    assert refusal("suites") == "suites: this is a folder; name a suite's YAML file"
    Path("suites/a.yaml").write_text(GOOD)
    assert refusal("suites") == (
        "suites: this is a folder; name a suite's YAML file, such as suites/a.yaml"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_read_permission_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(GOOD)
    file.chmod(0)
    assert refusal(file) == f"{file}: can't be read: Permission denied"


def test_an_impossible_file_name_is_told() -> None:
    assert refusal("a\0b").startswith("a\0b: can't be read: ")
    assert refusal("x" * 5000).endswith(": can't be read: File name too long")
