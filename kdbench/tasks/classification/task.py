"""`classification`: teacher and student on the same labelled images, in one walk.

Both models see an image in the same block; their probabilities are reduced to the scores of that image before
the next block, so a thousand classes cost no more to keep than ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdbench.errors import TaskError
from kdbench.models.adapter import Download
from kdbench.models.protocols import CLASSIFY
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.classification.labelled import (
    HubColumns,
    Label,
    Labelled,
    class_of,
    labelled,
)
from kdbench.tasks.task import Context, Item, Metric, PairTask, TaskParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kdbench.tasks.panel import Panel

TOP = 5

EACH = [
    Metric("acc", "fraction", "higher", "the most probable class is the right one"),
    Metric("acc5", "fraction", "higher", "the right class is among the five most probable"),
    Metric("nll", "nats/image", "lower", "negative log-likelihood of the right class"),
    Metric(
        "ece", "probability", "lower", "distance of confidence and accuracy, debiased",
        "calibration_error",
    ),
    Metric(
        "brier", "squared probability", "lower",
        "squared distance of the classes' probabilities from the truth, 0 to 2",
    ),
]  # fmt: skip
BETWEEN = [
    Metric("agreement", "fraction", "higher", "images on which both find the same class most probable"),
    Metric("agreement5", "share", "higher", "the teacher's five most probable classes among the student's"),
    Metric("forward_kl", "nats/image", "lower", "KL(teacher || student) of the classes"),
    Metric("reverse_kl", "nats/image", "lower", "KL(student || teacher) of the classes"),
    Metric("total_variation", "probability", "lower", "half of the L1 distance of the classes"),
]  # fmt: skip


class ClassificationParams(TaskParams):
    """Which images; paths are relative to the suite's folder."""

    data: str = Field(
        min_length=1,
        description="folder or zip (class/image.png), .npz (images, labels), .csv (label with file or grey "
        "values), or hf:owner/name@revision",
    )
    name: str | None = Field(
        None, min_length=1, description="name of the set in the task's label; default: the data's"
    )
    classes: str | None = Field(
        None, description="text file with a class a line in the models' order, for labels by name"
    )
    config: str | None = Field(None, description="configuration of a hub data set")
    split: str = Field("validation", description="split of a hub data set")
    files: str | None = Field(
        None,
        description="pattern of the parquet files of a hub data set that are the split, if not all",
    )
    image_column: str = Field("image", description="of a hub data set")
    label_column: str = Field("label", description="of a hub data set")

    @property
    def set_name(self) -> str:
        return self.name or Path(self.data.removeprefix("hf:").partition("@")[0]).stem


@task("classification")
class Classification(PairTask):
    """Needs two classifiers of the same classes."""

    version = 1
    about = "accuracy, calibration and agreement of image classifiers on labelled images"
    source = "kdbench; Guo et al. 2017, Kumar et al. 2019 (calibration), Brier 1950"
    Params = ClassificationParams
    headlines = ("acc", "agreement", "forward_kl")
    params: ClassificationParams

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return [*EACH, *BETWEEN]

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import CLASSIFICATION

        return CLASSIFICATION

    @property
    def label(self) -> str:
        return f"classification/{self.params.set_name}"

    def identity(self) -> dict[str, Any]:
        return {"classes": self._names}

    def verbs(self) -> frozenset[str]:
        return frozenset({CLASSIFY})

    def metrics(self) -> list[Metric]:
        return list(BETWEEN)

    def model_metrics(self) -> list[Metric]:
        return list(EACH)

    def protocol(self) -> dict[str, str]:
        return {
            "images": self.params.set_name,
            "preprocessing": "each model's own",
            "probabilities": "softmax over all classes, float64",
            "classes": "by name where both models have the same names, else by place",
        }

    def data_fingerprint(self) -> str:
        return self._set.fingerprint()

    def downloads(self) -> list[Download]:
        return self._set.downloads()

    def fetch(self) -> None:
        self._set.fetch()

    def items(self, limit: int | None) -> list[Item]:
        found = []
        for index, one in enumerate(self._set.entries()[:limit]):
            text = f"{one.name}\n{one.label}\n{one.digest}"
            identity = sha256(text.encode()).hexdigest()[:32]
            found.append(Item(identity, index, identity, (index, one.name, one.label)))
        return found

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        import numpy as np

        order = aligned(teacher.labels, student.labels)
        golds = [self._gold(item.payload[2], teacher.labels) for item in items]
        images = self._set.read([item.payload[0] for item in items])
        ours = np.array([one.probabilities for one in teacher.classify(images)])
        theirs = np.array([one.probabilities for one in student.classify(images)])[:, order]
        each = {role: of_model(p, golds) for role, p in (("teacher", ours), ("student", theirs))}
        both = between(ours, theirs)
        names, count = teacher.labels, ours.shape[1]
        few = f"the models tell {count} classes apart, so five of them say nothing"
        skipped = {"teacher.acc5": few, "student.acc5": few, "agreement5": few}
        found = []
        for place, (item, gold) in enumerate(zip(items, golds, strict=True)):
            scores: dict[str, Any] = {name: column[place] for name, column in both.items()}
            extra: dict[str, Any] = {}
            for role, (columns, chosen) in each.items():
                scores |= {f"{role}.{name}": column[place] for name, column in columns.items()}
                choice, confidence = chosen[place]
                extra[role] = {
                    "output": names[choice], "choice": choice, "confidence": confidence, "gold": gold,
                }  # fmt: skip
            if count <= TOP:
                extra["skipped"] = skipped
                scores = {name: score for name, score in scores.items() if name not in skipped}
            _, name, _ = item.payload
            found.append(
                Sample(item.id, item.index, item.cluster, scores, name, names[gold], extra=extra)
            )
        return found

    @cached_property
    def _set(self) -> Labelled:
        asked = self.params
        columns = HubColumns(
            asked.config, asked.split, asked.image_column, asked.label_column, asked.files
        )
        return labelled(asked.data, self.folder, columns)

    @cached_property
    def _names(self) -> list[str] | None:
        """Names of the classes in the models' order, where a file says them."""
        if self.params.classes is None:
            return None
        path = self.folder / self.params.classes
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"{path}: the classes' names can't be read ({error})") from error
        return [line.strip() for line in lines if line.strip()]

    @cached_property
    def _numbered(self) -> bool:
        """Whether all labels are numbers that are written as text, as folders' names are."""
        return all(str(one.label).isdecimal() for one in self._set.entries())

    def _gold(self, label: Label, labels: Sequence[str]) -> int:
        listed = self._names
        if listed is not None:
            if len(listed) != len(labels):
                raise TaskError(
                    f"{self.params.classes} names {len(listed)} classes, and the teacher tells "
                    f"{len(labels)} apart"
                )
            return class_of(label, listed, str(self.params.classes))
        by_number = self._numbered and not isinstance(label, int) and label not in labels
        return class_of(label, labels, "the teacher", by_number)


def aligned(teacher: Sequence[str], student: Sequence[str]) -> list[int]:
    """For each of the teacher's classes its place among the student's outputs.

    By name where both have the same names, each once; else by place. Raises `TaskError` where the counts
    differ, as their distributions are then of different things.
    """
    if len(teacher) != len(student):
        raise TaskError(
            f"the teacher tells {len(teacher)} classes apart and the student {len(student)}; a pair of "
            "classifiers needs the same classes"
        )
    if sorted(teacher) == sorted(student) and len(set(teacher)) == len(teacher):
        return [list(student).index(name) for name in teacher]
    return list(range(len(teacher)))


def of_model(
    probabilities: NDArray[np.float64], golds: Sequence[int]
) -> tuple[dict[str, list[Any]], list[tuple[int, float]]]:
    """Scores by metric of one model's `probabilities` (images, classes), an entry for each image, and each
    image's choice with its probability. Of equally probable classes the first counts as the more probable.
    """
    import numpy as np

    from kdbench.metrics.calibration import brier_score

    rows = np.arange(len(golds))
    choices = probabilities.argmax(axis=1)
    gold = np.asarray(golds)
    own = probabilities[rows, gold]
    before = (probabilities > own[:, None]).sum(axis=1)
    columns = np.arange(probabilities.shape[1])
    before += ((probabilities == own[:, None]) & (columns < gold[:, None])).sum(axis=1)
    sure = probabilities[rows, choices]
    with np.errstate(divide="ignore"):  # an impossible class has no likelihood, and that is told
        nll = -np.log(own)
    right = (choices == gold).astype(float)
    scores: dict[str, list[Any]] = {
        "acc": right.tolist(),
        "acc5": (before < TOP).astype(float).tolist(),
        "nll": nll.tolist(),
        "ece": [[c, r] for c, r in zip(np.minimum(sure, 1.0).tolist(), right.tolist(), strict=True)],
        "brier": [brier_score(row, one) for row, one in zip(probabilities, golds, strict=True)],
    }  # fmt: skip
    return scores, list(zip(choices.tolist(), sure.tolist(), strict=True))


def between(teacher: NDArray[np.float64], student: NDArray[np.float64]) -> dict[str, list[float]]:
    """How far apart two models' `probabilities` (images, classes) are, an entry for each image."""
    import torch

    from kdbench.metrics.divergence import divergences

    apart = divergences(torch.from_numpy(teacher).log(), torch.from_numpy(student).log())
    return {
        "agreement": (teacher.argmax(axis=1) == student.argmax(axis=1)).astype(float).tolist(),
        "agreement5": apart.top5.tolist(),
        "forward_kl": apart.forward_kl.tolist(),
        "reverse_kl": apart.reverse_kl.tolist(),
        "total_variation": apart.total_variation.tolist(),
    }
