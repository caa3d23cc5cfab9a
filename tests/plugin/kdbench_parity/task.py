"""The task `parity`: the model is asked whether numbers are odd."""

import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field

from kdbench.errors import TaskError
from kdbench.models.protocols import GENERATE_TEXT, Prompt
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.panel import Panel, PanelInput
from kdbench.tasks.task import Context, Item, Metric, ModelTask, PairTask, TaskParams


class ParityParams(TaskParams):
    count: int = Field(40, description="how many numbers are asked about")
    group_of: int = Field(1, description="so many numbers share a cluster")
    question: str = Field("Is {} odd? ", description="the prompt")


def numbers(params: ParityParams, limit: int | None) -> list[Item]:
    found = []
    for index in range(params.count)[:limit]:
        prompt = params.question.format(index * 7919 % 1000)
        name = sha256(f"{index}:{prompt}".encode()).hexdigest()[:16]
        found.append(Item(name, index, f"c{index // params.group_of}", prompt))
    return found


def right(item: Item) -> str:
    digits = "".join(character for character in item.payload if character.isdigit())
    return "yes" if int(digits) % 2 else "no"


def digits(given: PanelInput) -> dict[str, list[float]]:
    """Share of right answers of teacher and student by the last digit of the number."""
    counts = [0] * 10
    teachers, students = [0.0] * 10, [0.0] * 10
    for teacher, student in given.pairs():
        digit = teacher.index * 7919 % 10
        counts[digit] += 1
        teachers[digit] += teacher.scores["acc"]
        students[digit] += student.scores["acc"]

    def shares(sums: list[float]) -> list[float]:
        return [total / max(n, 1) for total, n in zip(sums, counts, strict=True)]

    return {"teacher": shares(teachers), "student": shares(students)}


def agreements(given: PanelInput) -> list[float]:
    """A task on pairs draws from the pair's own samples."""
    return [sample.scores["agreement"] for sample in given.samples()]


@task("parity")
class Parity(ModelTask):
    version = 1
    about = "says whether numbers are odd"
    source = "this package"
    Params = ParityParams

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        about = "How often each digit at the end was judged right"
        script = Path(__file__).parent / "digits.js"
        return [Panel("parity-digits", "By last digit", about, script, digits)]

    @property
    def label(self) -> str:
        return "parity/odd"

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_TEXT})

    def metrics(self) -> list[Metric]:
        return [
            Metric("acc", "fraction", "higher", "share of numbers judged right"),
            Metric("length", "characters", "lower", "length of the answer"),
        ]

    def protocol(self) -> dict[str, str]:
        return {"prompt": self.params.question.strip()}

    def data_fingerprint(self) -> str:
        return f"numbers-{self.params.count}"

    def items(self, limit: int | None) -> Sequence[Item]:
        return numbers(self.params, limit)

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        prompts = [
            Prompt(item.payload, ("\n",), 4, seed=context.sample_seed(item.id)) for item in items
        ]
        answers = model.generate_text(prompts)
        return [
            Sample(
                item.id,
                item.index,
                item.cluster,
                {"acc": float(answer.text == right(item)), "length": float(len(answer.text))},
                prompt=item.payload,
                target=right(item),
                output=answer.text,
            )
            for item, answer in zip(items, answers, strict=True)
        ]


@task("parity.pair")
class ParityPair(PairTask):
    version = 1
    about = "share of numbers on which teacher and student say the same"
    source = "this package"
    Params = ParityParams
    same_tokenizer = True
    timing = True

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        script = Path(__file__).parent / "agreement.js"
        return [Panel("parity-agreement", "Agreement", "Equal answers", script, agreements)]

    @property
    def label(self) -> str:
        return "parity.pair/same"

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_TEXT})

    def metrics(self) -> list[Metric]:
        return [Metric("agreement", "fraction", "higher", "share of equal answers")]

    def protocol(self) -> dict[str, str]:
        return {"prompt": self.params.question.strip()}

    def data_fingerprint(self) -> str:
        return f"numbers-{self.params.count}"

    def items(self, limit: int | None) -> Sequence[Item]:
        return numbers(self.params, limit)

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        if self.params.count == 13:
            raise TaskError("thirteen numbers bring bad luck")
        prompts = [Prompt(item.payload, ("\n",), 4) for item in items]
        both = zip(
            items, teacher.generate_text(prompts), student.generate_text(prompts), strict=True
        )
        return [
            Sample(item.id, item.index, item.cluster, {"agreement": float(a.text == b.text)})
            for item, a, b in both
        ]


@task("parity.echo")
class ParityEcho(ParityPair):
    """Rests on the answers that the teacher has given to `parity`."""

    about = "share of the teacher's stored answers that the student repeats"
    same_tokenizer = False
    timing = False

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        return []

    @property
    def label(self) -> str:
        return "parity.echo/same"

    def metrics(self) -> list[Metric]:
        return [
            Metric("echo", "fraction", "higher", "answers repeated"),
            Metric(
                "letters", "characters", "lower", "letters per answer", "weighted_mean",
                compared=True,
            ),
        ]  # fmt: skip

    def basis(self) -> ModelTask:
        return Parity(self.params, self.folder)

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        answers = student.generate_text([Prompt(item.payload, ("\n",), 4) for item in items])
        return [
            Sample(
                item.id, item.index, item.cluster,
                {
                    "echo": float(answer.text == context.basis[item.id].output),
                    "letters": [len(answer.text), 1],
                },
            )
            for item, answer in zip(items, answers, strict=True)
        ]  # fmt: skip


@task("parity.speed")
class ParitySpeed(PairTask):
    version = 1
    about = "how much faster the student says whether numbers are odd, in interleaved rounds"
    source = "this package"
    Params = ParityParams
    timing = True

    @property
    def label(self) -> str:
        return "parity.speed/odd"

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_TEXT})

    def metrics(self) -> list[Metric]:
        return [Metric("speedup", "ratio", "higher", "teacher's seconds / student's, a round")]

    def protocol(self) -> dict[str, str]:
        return {"prompt": self.params.question.strip(), "rounds": "interleaved"}

    def data_fingerprint(self) -> str:
        return f"numbers-{self.params.count}"

    def items(self, limit: int | None) -> Sequence[Item]:
        return numbers(self.params, limit)

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        def seconds(model: Any, item: Item) -> float:
            began = time.perf_counter()
            model.generate_text([Prompt(item.payload, ("\n",), 4)])
            return time.perf_counter() - began

        return [
            Sample(
                item.id,
                item.index,
                item.cluster,
                {"speedup": seconds(teacher, item) / seconds(student, item)},
            )
            for item in items
        ]
