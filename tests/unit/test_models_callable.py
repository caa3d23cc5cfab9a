"""The callable adapter: a model of one's own, found beside the suite or on the path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.callable import CallableAdapter, CallableParams
from kdbench.models.protocols import Continuation, GeneratesText, Prompt

SOURCE = """
from kdbench.models.protocols import Generated, Scored

class Echo:
    def __init__(self, word="ok", loud=False):
        self.word = word.upper() if loud else word

    def score_text(self, requests):
        return [Scored(-float(len(request.text)), False, 1) for request in requests]

    def generate_text(self, prompts):
        return [Generated(self.word, 1, "stop") for _ in prompts]

def make(**options):
    return Echo(**options)

NUMBER = 3
"""


@pytest.fixture(autouse=True)
def _clean_import_state() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "mymodels.py").write_text(SOURCE)
    return tmp_path


def _adapter(folder: Path, target: str = "mymodels:Echo", **params: Any) -> CallableAdapter:
    verbs = params.pop("verbs", ["score_text", "generate_text"])
    made = CallableParams(target=target, verbs=verbs, **params)
    return CallableAdapter(made, folder, LoadSettings())


@pytest.mark.parametrize("target", ["mymodels:Echo", "mymodels:make"])
def test_a_class_or_function_beside_the_suite_makes_the_model(suite: Path, target: str) -> None:
    adapter = _adapter(suite, target, options={"word": "yes", "loud": True})
    adapter.check()
    assert adapter.verbs() == {"score_text", "generate_text"}
    model = adapter.load()
    assert isinstance(model, GeneratesText)
    assert model.generate_text([Prompt("?", (), 4)])[0].text == "YES"
    assert model.score_text([Continuation("a", "bcd")])[0].logprob == -3.0


def test_a_module_inside_a_package_is_found(suite: Path) -> None:
    (suite / "pkg" / "sub").mkdir(parents=True)
    (suite / "pkg" / "sub" / "models.py").write_text(SOURCE)
    assert _adapter(suite, "pkg.sub.models:Echo").load().word == "ok"


def test_an_installed_module_is_found(tmp_path: Path) -> None:
    adapter = _adapter(tmp_path, "json.decoder:JSONDecoder", verbs=["decode"])
    adapter.check()
    assert adapter.load().decode("1") == 1


def test_two_suites_may_name_their_modules_alike(suite: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mymodels.py").write_text(SOURCE.replace('"ok"', '"other"'))
    assert _adapter(suite).load().word == "ok"
    assert _adapter(other).load().word == "other"
    assert _adapter(suite).load().word == "ok"


def test_source_and_options_are_the_fingerprint(suite: Path) -> None:
    before = _adapter(suite).fingerprint()
    assert _adapter(suite).fingerprint() == before
    assert _adapter(suite, options={"word": "x"}).fingerprint() != before
    assert _adapter(suite, "mymodels:make").fingerprint() != before
    (suite / "mymodels.py").write_text(SOURCE + "\n# changed\n")
    assert _adapter(suite).fingerprint() != before
    assert not any(str(suite) in part for part in before.values())


def test_checking_and_hashing_run_none_of_the_code(suite: Path) -> None:
    (suite / "mymodels.py").write_text("raise SystemExit('ran')")
    adapter = _adapter(suite)
    adapter.check()
    assert adapter.fingerprint()["source"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nosuchmodule:Echo", "no module nosuchmodule beside the suite"),
        ("no.such.module:Echo", "no module no.such.module"),
        ("sys:path", "no module sys"),
    ],
)
def test_a_module_that_is_nowhere_is_refused_before_loading(
    suite: Path, target: str, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        _adapter(suite, target).check()


@pytest.mark.parametrize(
    "target", ["mymodels", "mymodels.Echo", ":Echo", "a b:c", "a:b:c", "../x:y"]
)
def test_a_target_of_another_form_is_a_suite_error(target: str) -> None:
    with pytest.raises(ValidationError, match=r"package.module:attribute"):
        CallableParams(target=target, verbs=["score_text"])


@pytest.mark.parametrize(
    ("target", "params", "message"),
    [
        ("mymodels:Missing", {}, "Missing is missing"),
        ("mymodels:NUMBER", {}, "NUMBER is nothing that can be called"),
        ("mymodels:Echo", {"options": {"colour": 1}}, "does not take these options"),
        ("mymodels:Echo", {"verbs": ["chat_template"]}, "no method apply_chat_template"),
        ("mymodels:Echo", {"verbs": ["score_rolling"]}, "no method score_rolling"),
    ],
)
def test_what_cannot_be_the_model_is_refused_at_load(
    suite: Path, target: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        _adapter(suite, target, **params).load()


@pytest.mark.parametrize("source", ["import nosuchpackage", "def (:"])
def test_a_module_that_cannot_be_imported_is_an_error_with_its_file(
    suite: Path, source: str
) -> None:
    (suite / "mymodels.py").write_text(source)
    with pytest.raises(ModelError, match=r"mymodels.py: can't be imported"):
        _adapter(suite).load()
