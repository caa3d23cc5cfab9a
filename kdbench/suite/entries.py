"""What stands in a suite file (entries), and what it is resolved to (specs)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kdbench import registry
from kdbench.suite.gate import Share

DEFAULT_ADAPTER = "transformers"

_MAX_INT = 2**63 - 1
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_SUITE_NAME = r"[a-z0-9][a-z0-9._-]{0,99}"


def check_name(text: str) -> str:
    """`text` where it can name a model or a pair; raises `ValueError` where not."""
    if not re.fullmatch(NAME_PATTERN, text):
        raise ValueError(
            f"{text[:60]!r} can't be a name: use letters, digits, '.', '_' and '-' "
            "(100 at most), and begin with a letter or digit"
        )
    return text


def _check_suite_name(text: str) -> str:
    if not re.fullmatch(_SUITE_NAME, text):
        raise ValueError(
            f"{text[:60]!r} can't be a suite's name: use a-z, 0-9, '.', '_' and '-' "
            "(100 at most), and begin with a letter or digit"
        )
    return text


def _check_device(text: str) -> str:
    if not re.fullmatch(r"[a-z]+(:[0-9]+)?", text):
        raise ValueError(f"{text[:60]!r} is no device; write auto, cpu, cuda, cuda:1, mps, ...")
    return text


Count = Annotated[int, Field(ge=1, le=_MAX_INT)]
Dtype = Literal["auto", "float32", "bfloat16", "float16", "float64"]
Device = Annotated[
    str, AfterValidator(_check_device), Field(json_schema_extra={"pattern": "^[a-z]+(:[0-9]+)?$"})
]
BatchSize = Literal["auto"] | Count


class Frozen(BaseModel):
    """Refuses unknown keys, and can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(Frozen):
    """What holds for the whole run; models and tasks may override parts of it."""

    limit: Annotated[Count | None, Field(description="Items per task; all where null.")] = None
    seed: Annotated[
        int, Field(ge=0, le=_MAX_INT, description="Every sample's own seed is derived from it.")
    ] = 0
    dtype: Annotated[Dtype, Field(description="Number format of the weights; auto: as stored.")] = (
        "auto"
    )
    device: Annotated[
        Device, Field(description="A torch device; auto: a GPU, or else the CPU.")
    ] = "auto"
    batch_size: Annotated[
        BatchSize, Field(description="Rows per forward pass; auto: what fits.")
    ] = "auto"
    confidence: Annotated[Share, Field(description="Of every interval, between 0 and 1.")] = 0.95
    workers: Annotated[
        int, Field(ge=1, le=1024, description="Worker processes that measure at the same time.")
    ] = 1
    results: Annotated[
        Path, Field(description="Folder for results, relative to the current directory.")
    ] = Path("results")

    @property
    def rows_per_batch(self) -> int | None:
        """`batch_size`, or None where it is auto."""
        return None if self.batch_size == "auto" else self.batch_size


class ModelEntry(Frozen):
    """The keys that every model has, whatever its adapter."""

    adapter: Annotated[str, Field(description="What loads the model.")] = DEFAULT_ADAPTER
    dtype: Annotated[Dtype | None, Field(description="Instead of settings.dtype.")] = None
    device: Annotated[Device | None, Field(description="Instead of settings.device.")] = None
    batch_size: Annotated[
        BatchSize | None, Field(description="Instead of settings.batch_size.")
    ] = None
    trust_remote_code: Annotated[
        bool, Field(description="Let the model's repository run its own Python code.")
    ] = False


class _PairKeys(Frozen):
    name: Annotated[
        str | None,
        Field(
            min_length=1,
            description="How rows call the pair; default: the student's name. "
            "{student} and {teacher} are filled in.",
        ),
    ] = None
    teacher: Annotated[str, Field(description="A model: what was distilled from.")]
    method: Annotated[str, Field(description="How the student was distilled, for the table.")] = ""
    baseline: Annotated[
        str | None, Field(description="A model: a student trained without distillation.")
    ] = None


class PairEntry(_PairKeys):
    """One teacher and one student."""

    student: Annotated[str, Field(description="A model: what was distilled.")]


class MatrixEntry(_PairKeys):
    """One teacher and several students: a pair for each."""

    students: Annotated[
        Literal["all"]
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[dict[str, str | None], Field(min_length=1)],
        Field(description="Models, a mapping model -> method, or all (every other model)."),
    ]


class TaskEntry(Frozen):
    """The keys that every task has, whatever it measures."""

    limit: Annotated[
        Count | None, Field(description="Instead of settings.limit; all where null.")
    ] = None
    pairs: Annotated[
        list[str] | None,
        Field(
            min_length=1,
            description="Only these pairs, by name; * and ? are wildcards (digits-*). Default: all.",
        ),
    ] = None


class SuiteFile(Frozen):
    """The top of a suite; its sections are read entry by entry."""

    name: Annotated[
        str | None,
        AfterValidator(lambda name: name and _check_suite_name(name)),
        Field(
            description="Default: the file's name. Results go to a folder of this name.",
            json_schema_extra={"pattern": f"^{_SUITE_NAME}$"},
        ),
    ] = None
    about: Annotated[str, Field(description="What the suite is for, in a line.")] = ""
    models: Annotated[
        dict[str, Any], Field(min_length=1, description="Name -> where the model is.")
    ]
    pairs: Annotated[list[Any], Field(min_length=1, description="Who is whose student.")]
    tasks: Annotated[list[Any], Field(min_length=1, description="What is measured.")]
    settings: Annotated[dict[str, Any] | None, Field(description="How it is measured.")] = None
    gates: Annotated[list[Any] | None, Field(description="What must hold of the rows.")] = None


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """How to load: the suite's settings, with the model's own overrides already applied.

    `batch_size` is rows per forward pass; None lets the adapter choose. `dtype` is a torch name
    ("float32", "bfloat16", ...) or "auto" (as stored). `device` is a torch device or "auto".
    """

    dtype: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    trust_remote_code: bool = False


class ModelSpec(Frozen):
    """A model of the suite: its adapter's name, that adapter's params, and how to load it."""

    name: str
    adapter: str
    params: Any
    load: LoadSettings


class PairSpec(Frozen):
    """A teacher and a student; `baseline` is a student trained without distillation."""

    name: str
    teacher: str
    student: str
    method: str = ""
    baseline: str | None = None


class TaskSpec(Frozen):
    """One task: its registered name, its params, and how many items at most (all where None).

    `limit` is the entry's own (kept as `own_limit` too), or else that of the settings. `metrics`
    are the names that it emits. `pairs` are patterns of the names of the pairs that it is about.
    """

    task: str
    params: Any
    limit: int | None
    own_limit: int | None = None
    label: str
    group: str | None
    metrics: tuple[str, ...]
    folder: Path
    pairs: tuple[str, ...] = ("*",)

    def about(self, pairs: Iterable[PairSpec]) -> list[PairSpec]:
        """Those of `pairs` that the task is about."""
        return [pair for pair in pairs if any(fnmatchcase(pair.name, one) for one in self.pairs)]

    def with_limit(self, limit: int | None) -> TaskSpec:
        """The task under another limit of the settings, which only ever lowers its own."""
        lowest = min((n for n in (limit, self.own_limit) if n is not None), default=None)
        return self.model_copy(update={"limit": lowest})

    def build(self) -> Any:
        """The `kdbench.tasks.task.Task`, bound to its params; raises `TaskError` like its class."""
        return registry.tasks.get(self.task)(self.params, self.folder)


def suite_name(stem: str) -> str:
    """The name of a suite that has none of its own, from the name of its file."""
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:100]
    return name or "suite"
