"""Small tasks and adapters, and registries that hold nothing else, for tests of suite files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from kdbench import registry
from kdbench.errors import SuiteError, TaskError
from kdbench.models.adapter import Adapter, AdapterParams
from kdbench.suite import Suite, load_suite
from kdbench.tasks.task import Metric, ModelTask, TaskParams


class FakeAdapter(Adapter):
    about = "a model that is never loaded"

    def verbs(self) -> frozenset[str]:
        return frozenset()

    def check(self) -> None:
        return None

    def fingerprint(self) -> dict[str, str]:
        return {"name": self.name}

    def load(self) -> Any:
        raise AssertionError("a suite never loads a model")


class Folder(FakeAdapter):
    class Params(AdapterParams):
        path: str = Field(description="Where the weights are.")
        revision: str | None = None


class Server(FakeAdapter):
    class Params(AdapterParams):
        base_url: str
        model: str
        api_key_env: str = "API_KEY"
        timeout: float = 60.0


class Scale(BaseModel):
    model_config = ConfigDict(extra="forbid")

    low: float
    high: float = 1.0


class FakeTask(ModelTask):
    version = 1
    source = "a test"
    names: tuple[str, ...] = ()

    def verbs(self) -> frozenset[str]:
        return frozenset()

    def metrics(self) -> list[Metric]:
        return [Metric(name, "fraction", "higher", name) for name in self.names]

    def protocol(self) -> dict[str, str]:
        return {"task": self.name}

    def data_fingerprint(self) -> str:
        return "none"

    def items(self, limit: int | None) -> list[Any]:
        return []

    def measure(self, model: Any, items: Any, context: Any) -> list[Any]:
        return []


class Quiz(FakeTask):
    about = "questions with answers"
    names = ("acc", "acc_norm")
    shorthand = "lm_eval"

    class Params(TaskParams):
        lm_eval: str = Field(description="An lm-eval task or its YAML.")
        num_fewshot: int | None = Field(None, ge=0, le=64)
        mode: Literal["loglikelihood", "generate"] = "loglikelihood"
        bins: int | Literal["auto"] = "auto"
        steps: Literal["all"] | list[int] | dict[str, int] = "all"
        scale: Scale | None = None
        scales: list[Scale] = Field(default_factory=list)
        tags: tuple[str, ...] = ()
        folder: Path | None = None

    @classmethod
    def expand(cls, params: Any, folder: Path) -> list[Any]:
        if params.lm_eval == "nothing":
            return []
        if params.lm_eval != "mmlu":
            return [params]
        return [params.model_copy(update={"lm_eval": f"mmlu_{part}"}) for part in ("law", "logic")]

    def __init__(self, params: Any, folder: Path) -> None:
        super().__init__(params, folder)
        if params.lm_eval.endswith(".yaml") and not (folder / params.lm_eval).is_file():
            raise TaskError(f"{params.lm_eval}: no such task file")

    @property
    def label(self) -> str:
        return f"quiz/{Path(self.params.lm_eval).stem}"

    @property
    def group(self) -> str | None:
        return "quiz/mmlu" if self.params.lm_eval.startswith("mmlu_") else None


class Speed(FakeTask):
    about = "time per token"
    names = ("speedup", "latency")
    timing = True

    class Params(TaskParams):
        tokens: int = 64

    @property
    def label(self) -> str:
        return "speed/decode"


def fresh_registries() -> tuple[registry.Registry, registry.Registry]:
    """Registries of the fake tasks and of the fake adapters."""
    tasks = registry.Registry("task", (), "kdbench.no.such.tasks")
    adapters = registry.Registry("adapter", (), "kdbench.no.such.adapters")
    tasks.register("quiz")(Quiz)
    tasks.register("speed")(Speed)
    adapters.register("transformers")(Folder)
    adapters.register("server")(Server)
    return tasks, adapters


@pytest.fixture(autouse=True)
def only_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the registries by those of the fakes."""
    tasks, adapters = fresh_registries()
    monkeypatch.setattr(registry, "tasks", tasks)
    monkeypatch.setattr(registry, "adapters", adapters)


Load = Callable[[str | bytes], Suite]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write a suite file `s.yaml` into an empty current directory and load it by that name."""
    monkeypatch.chdir(tmp_path)

    def write_and_load(text: str | bytes) -> Suite:
        raw = text if isinstance(text, bytes) else text.encode()
        Path("s.yaml").write_bytes(raw)
        return load_suite("s.yaml")

    return write_and_load


@pytest.fixture
def told(load: Load) -> Callable[[str | bytes], list[str]]:
    """The lines that loading a suite text prints; empty where all is well."""

    def lines(text: str | bytes) -> list[str]:
        try:
            load(text)
        except SuiteError as error:
            return str(error).split("\n")
        return []

    return lines


GOOD = """\
name: good
about: every section and every form
models:
  big: weights/big
  small: {path: weights/small, dtype: float32, batch_size: 4, trust_remote_code: true}
  scratch: hf:org/scratch@main
  served:
    adapter: server
    base_url: http://127.0.0.1:8080/v1
    model: tiny
    device: cpu
pairs:
  - {teacher: big, student: small, method: forward-kl, baseline: scratch}
  - name: "{student}-of-{teacher}"
    teacher: big
    students: {scratch: none, served: sft}
    baseline: scratch
tasks:
  - quiz/gsm8k
  - task: quiz
    lm_eval: arc
    num_fewshot: 5
    limit: 200
  - {task: quiz/mmlu, limit: null}
  - speed
settings:
  limit: 100
  seed: 7
  dtype: bfloat16
  device: cuda:1
  batch_size: 16
  confidence: 0.9
  workers: 2
  results: out
gates:
  - retention of acc on quiz/* >= 97%
  - {metric: acc, on: quiz/mmlu, kind: gap, min: -0.02, pair: small, severity: warn}
  - {kind: speedup, min: 1.5, confidence: 0.8}
  - acc on quiz/gsm8k for small no worse than baseline by 0.01
  - acc.lost <= 0.1
"""
