"""What holds for any suite file: garbage is only ever refused, and one slip is told once."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from suite_fakes import GOOD, fresh_registries

from kdbench import registry
from kdbench.errors import SuiteError
from kdbench.suite import load_suite


@pytest.fixture(autouse=True, scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A suite file that is written again and again, with only the fake tasks and adapters known."""
    with pytest.MonkeyPatch.context() as patch:
        tasks, adapters = fresh_registries()
        patch.setattr(registry, "tasks", tasks)
        patch.setattr(registry, "adapters", adapters)
        yield tmp_path_factory.mktemp("suite") / "s.yaml"


def refused(file: Path, raw: bytes) -> SuiteError | None:
    """The refusal of a file with these bytes; anything else that is raised is a failure."""
    file.write_bytes(raw)
    try:
        load_suite(file)
    except SuiteError as error:
        return error
    return None


KEYS = [
    (match.start(2), match[2])
    for match in re.finditer(r"(^ *(?:- )?|[{,] ?)([a-z_]+)(?=: |:\n)", GOOD, re.MULTILINE)
    if match[2] not in ("big", "small", "scratch", "served")
]
KNOWN = {key for _, key in KEYS} | {
    *("tokens", "mode", "bins", "steps", "scale", "scales", "tags", "folder", "revision", "max"),
    *("api_key_env", "timeout", "margin", "model", "on"),
}


@st.composite
def misspelt(draw: st.DrawFn) -> tuple[str, int]:
    """The suite with one key changed in one character, and the line of that key."""
    start, key = draw(st.sampled_from(KEYS))
    at = draw(st.integers(0, len(key) - 1))
    letter = draw(st.sampled_from(string.ascii_lowercase))
    wrong = draw(
        st.sampled_from(
            [
                key[:at] + key[at + 1 :],
                key[:at] + letter + key[at:],
                key[:at] + letter + key[at + 1 :],
                key[:at] + key[at + 1 : at + 2] + key[at] + key[at + 2 :],
            ]
        ).filter(lambda word: word and word not in KNOWN)
    )
    text = GOOD[:start] + wrong + GOOD[start + len(key) :]
    return text, GOOD.count("\n", 0, start) + 1


def test_the_misspelt_keys_are_keys_of_every_section() -> None:
    assert {"models", "adapter", "teacher", "students", "task", "limit", "kind", "min"} <= {
        key for _, key in KEYS
    }


@given(misspelt())
@settings(max_examples=1500, deadline=None)
def test_one_character_wrong_in_a_key_is_told_once_in_its_line(
    file: Path, slip: tuple[str, int]
) -> None:
    text, line = slip
    error = refused(file, text.encode())
    assert error is not None
    assert [problem.line for problem in error.problems] == [line], str(error)
    assert "unknown key" in str(error)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["big", "all", "quiz/gsm8k", "speed", "auto", "acc >= 0.5", "<<", "1e3"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(KNOWN)) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
SECTIONS = ("name", "about", "models", "pairs", "tasks", "settings", "gates", "other")
sections = st.fixed_dictionaries({}, optional=dict.fromkeys(SECTIONS, plain))


@given(sections)
@settings(max_examples=1500, deadline=None)
def test_any_data_in_any_section_is_at_most_refused(file: Path, data: dict[str, object]) -> None:
    text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
    error = refused(file, text.encode("utf-8", "surrogatepass"))
    assert error is None or all(problem.message for problem in error.problems)


@given(st.data())
@settings(max_examples=1500, deadline=None)
def test_a_section_replaced_by_any_data_is_at_most_refused(file: Path, data: st.DataObject) -> None:
    good = yaml.safe_load(GOOD.replace(" on: ", " 'on': "))
    section = data.draw(st.sampled_from(sorted(good)))
    good[section] = data.draw(plain)
    if isinstance(good[section], list):
        good[section] *= data.draw(st.integers(1, 2))
    refused(file, yaml.safe_dump(good, allow_unicode=True).encode("utf-8", "surrogatepass"))


SIGNS = [
    *":-{}[]&*!|>%@`#,?\"'\\\t\n \r\0\x85\u2028\ufeff",
    "\n  ",
    ": ",
    "- ",
    "<<: ",
    "&a ",
    "*a",
]
WORDS = ["!!int ", "!!binary ", "---", "...", "%YAML 9.9", "models", "pairs", "tasks", "1e999"]
yaml_like = st.lists(st.sampled_from([*SIGNS, *WORDS]) | st.characters(), max_size=40).map("".join)


@given(yaml_like)
@settings(max_examples=1500, deadline=None)
def test_text_like_yaml_is_at_most_refused(file: Path, text: str) -> None:
    assert refused(file, text.encode("utf-8", "surrogatepass")) is not None


@given(st.binary(max_size=64))
@settings(max_examples=1500, deadline=None)
def test_bytes_of_any_kind_are_at_most_refused(file: Path, raw: bytes) -> None:
    assert refused(file, raw) is not None


@given(st.data())
@settings(max_examples=1500, deadline=None)
def test_a_suite_with_a_piece_cut_out_or_put_in_is_at_most_refused(
    file: Path, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 40)))
    refused(
        file, (GOOD[:start] + data.draw(yaml_like) + GOOD[end:]).encode("utf-8", "surrogatepass")
    )
