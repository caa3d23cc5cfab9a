"""What a task is: a named, versioned recipe that turns items into samples.

`kdbench run` asks a task for its items once, sends them in blocks to `measure`, and stores each block
durably; the task never sees the store, the suite or another model. Everything except `items` and
`measure` is cheap: no torch, no network, no data set library.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from kdbench.models.adapter import Download
from kdbench.results.sample import Sample

if TYPE_CHECKING:
    from kdbench.metrics.folded import Folded
    from kdbench.stats import Estimate
    from kdbench.tasks.panel import Panel


CODE_NOT_ALLOWED = (
    "runs programs that models write; "
    "allow that, in a sandbox, with: kdbench run --allow-code-execution"
)


class TaskParams(BaseModel):
    """The task's own keys in a suite; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Metric:
    """One number that a task emits.

    `aggregation` names how per-sample scores become the number (`kdbench.tasks.aggregate`). A metric of
    pairs that is `compared` is told apart between the students of one teacher, too. `by` names a tag of
    samples: each of its values has a row of its own, `NAME[TAG=VALUE]`, over the samples that carry it.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    about: str
    aggregation: str = "mean"
    compared: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to measure: `id` hashes its content, `cluster` groups items that share a prompt."""

    id: str
    index: int
    cluster: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Context:
    """What a measurement may depend on besides its items.

    `basis` has the samples of the task's basis by their ids (`PairTask.basis`). `artifacts` is a place beside
    the cell's samples for what is too large for them (features, images); what a block writes there is on the
    disk before `measure` returns its samples. It may not exist yet. `basis_artifacts` is the
    basis's place, to read.
    """

    seed: int
    basis: Mapping[str, Sample] = field(default_factory=dict)
    allow_code_execution: bool = False
    """Whether the person who started the run lets generated code run; no suite can say so."""
    sources: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """The cell's models by name (adapter, params, load), for tasks that load one in a process of its own."""
    folder: str = ""
    """The suite's, from which the paths of `sources` start."""
    artifacts: Path | None = None
    basis_artifacts: Path | None = None

    def sample_seed(self, sample_id: str) -> int:
        """The sample's own 63-bit seed, from (suite seed, sample id)."""
        digest = sha256(f"{self.seed}:{sample_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds that measuring a timing's items will take, by what they are spent on.

    `rounds` go into the items, `warm_up` comes before each block of them. `once` is what a role's model
    costs when it has been loaded anew: counting its operations, compiling it, looking for its best batch.
    Where nothing can be measured, all are 0.
    """

    rounds: float = 0.0
    warm_up: float = 0.0
    once: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """A number that only the task's own code can compute, as a cell keeps it.

    `folded` is what the interval was made of, where folds of the samples made it: two models over the same
    folds are paired by it. `details` is JSON that a panel draws. Where the samples can't bear the metric
    there is no estimate, and `reason` names the least that would.
    """

    estimate: Estimate | None
    folded: Folded | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """What the cell's record holds; `kdbench.tasks.summaries` reads it."""
        own = {"details": dict(self.details), "reason": self.reason}
        held = asdict(self.estimate) if self.estimate is not None else {}
        if self.folded is not None:
            held |= self.folded.to_json()
        return held | {name: value for name, value in own.items() if value}


class Task(ABC):
    """A recipe bound to its parameters."""

    name: ClassVar[str]
    version: ClassVar[int]
    about: ClassVar[str]
    source: ClassVar[str]
    Params: ClassVar[type[TaskParams]]
    shorthand: ClassVar[str | None] = None
    """The parameter that `- name/value` sets in a suite's task list, if there is one."""
    timing: ClassVar[bool] = False
    """True where the hardware is part of what is measured, hence of the cell's key."""
    headlines: ClassVar[tuple[str, ...]] = ()
    """Patterns of the metrics that a person sees first, of a task that has many; empty: all of them."""
    executes_code: ClassVar[bool] = False
    """True where programs that a model wrote are run: only with `Context.allow_code_execution`."""

    def __init__(self, params: Any, folder: Path) -> None:
        """`folder` is the suite's: relative paths in `params` start there."""
        self.params = params
        self.folder = folder

    @classmethod
    def expand(cls, params: Any, folder: Path) -> list[Any]:
        """One entry of a suite may name several tasks (an lm-eval group, say): their params, in order."""
        return [params]

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        """Metrics that tasks of this name emit, for listing; some only under certain parameters."""
        if any(field.is_required() for field in cls.Params.model_fields.values()):
            return []
        return cls(cls.Params(), Path()).metrics()

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        """Drawings that the task adds to a pair's page of the leaderboard."""
        return ()

    @property
    def group(self) -> str | None:
        """Label of the group that this task is a member of; the samples of its members are pooled
        into further rows of that name."""
        return None

    @property
    @abstractmethod
    def label(self) -> str:
        """The name that rows carry, `family/what` ("reasoning/gsm8k")."""

    def identity(self) -> dict[str, Any]:
        """Parameters that can change a sample; leave out paths and labels (contents are hashed by
        `protocol` and `data_fingerprint`)."""
        return self.params.model_dump(mode="json")  # type: ignore[no-any-return]

    @abstractmethod
    def verbs(self) -> frozenset[str]:
        """Protocol verbs that a model must have."""

    @abstractmethod
    def metrics(self) -> list[Metric]:
        """What `measure` will score, with units and directions."""

    def model_metrics(self) -> list[Metric]:
        """What a task on pairs says of each of the two models by itself, out of the same walk.

        A sample has the teacher's score of a metric `acc` as `teacher.acc`, and what else is worth keeping of
        the teacher's answer in `extra["teacher"]`; the student's likewise. They are published as if each
        model had been measured alone, so they have retention, gaps and flips like any other.
        """
        return []

    @abstractmethod
    def protocol(self) -> dict[str, str]:
        """The dialect in parts: numbers are comparable only where all parts are equal."""

    @abstractmethod
    def data_fingerprint(self) -> str:
        """Hash of the documents, or their pinned revision; never their path.

        Raises `TaskError` where the data is missing.
        """

    def downloads(self) -> list[Download]:
        """Data that a run would have to fetch first."""
        return []

    def fetch(self) -> None:
        """Fetch what `downloads` lists; called only where there is something."""

    def least_seconds(self) -> float:
        """Seconds that the settings of a timing ask for at the least, whatever the models."""
        return 0.0

    def predict(
        self, models: Mapping[str, Any], items: Sequence[Item], context: Context
    ) -> Prediction:
        """How long measuring `items` will take, for tasks that time; found by trying the models, which are
        named by their roles. Tasks that don't say so have no time that is known beforehand.
        """
        raise NotImplementedError

    @abstractmethod
    def items(self, limit: int | None) -> Sequence[Item]:
        """The first `limit` items in their fixed order (all where None)."""


class ModelTask(Task):
    """Measured on one model; pair rows come from joining teacher's and student's samples by id."""

    @abstractmethod
    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        """One sample per item, in the items' order."""

    def summarise(
        self, samples: Sequence[Sample], context: Context
    ) -> Mapping[str, Estimate | Summary]:
        """Numbers that no aggregation of kdbench can recompute from samples; usually none."""
        return {}

    def so_far(self, context: Context) -> dict[str, float]:
        """Numbers of the images or documents that are there already, for people who wait; usually none."""
        return {}


class PairTask(Task):
    """Measured on teacher and student together (one walk, or interleaved rounds)."""

    same_tokenizer: ClassVar[bool] = False
    """True where token distributions are compared; pairs that differ are skipped with the reason."""
    needs_teacher: ClassVar[bool] = True
    """False where the basis has all that is asked of the teacher: it isn't loaded, `measure` gets None."""

    def student_verbs(self, has: frozenset[str]) -> frozenset[str]:
        """Verbs that a student with the verbs `has` must have, where they are not the teacher's."""
        return self.verbs()

    def basis(self) -> ModelTask | None:
        """A task whose samples on the teacher this one works on: a cell of its own, measured first and
        shared by all that rest on it. Its items have the ids of this task's items.
        """
        return None

    @abstractmethod
    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        """One sample per item, in the items' order."""
