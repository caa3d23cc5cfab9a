"""What images are asked of: prompts, classes or nothing, each image with a seed of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from kdbench.errors import TaskError
from kdbench.models import weights
from kdbench.models.adapter import Download
from kdbench.models.file_hash import sha256_of
from kdbench.models.images import ImageRequest
from kdbench.tasks.task import Context, Item, TaskParams

WEIGHTS = "weights:"
"""A path that begins so names an entry of the manifest of published files."""


class ConditionParams(TaskParams):
    """`prompts` or `labels` or neither; paths are relative to the suite's folder."""

    name: str | None = Field(
        None, min_length=1, description="name of the set in the task's label; default: the file's"
    )
    prompts: str | None = Field(
        None, description="prompts: a text file (one a line), or CSV, JSONL or JSON with a prompt"
    )
    prompts_from: str | None = Field(
        None, description="where the prompts come from if they are not there yet, for people"
    )
    labels: int | None = Field(None, ge=1, description="classes, asked in turn from 0")
    images: int | None = Field(
        None, ge=1, description="images in all; default: `per_prompt` for each prompt"
    )
    per_prompt: int = Field(
        1, ge=1, description="images of each prompt (or label), measured together as one sample"
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> ConditionParams:
        if self.prompts is not None and self.labels is not None:
            raise ValueError("images are made of `prompts` or of `labels`, not of both")
        if self.prompts is None and self.images is None:
            raise ValueError("without `prompts`, say how many `images` in all")
        if self.images is not None and self.images % self.per_prompt:
            raise ValueError(
                f"images: {self.images} is no multiple of per_prompt: {self.per_prompt}"
            )
        return self

    @property
    def set_name(self) -> str:
        if self.name is not None:
            return self.name
        if self.prompts is not None:
            return Path(self.prompts.removeprefix(WEIGHTS)).stem
        return f"{self.labels}-classes" if self.labels else "unconditional"


class Conditions:
    """The conditions of a task, read where they are."""

    def __init__(self, params: ConditionParams, folder: Path) -> None:
        self.params = params
        self._folder = folder

    def protocol(self) -> dict[str, str]:
        asked = self.params
        kind = "prompts" if asked.prompts else f"{asked.labels} labels in turn"
        return {
            "conditions": kind if asked.prompts or asked.labels else "none",
            "images": str(asked.images or "all"),
            "per_prompt": str(asked.per_prompt),
            "noise": "a generator for each image, on the CPU",
        }

    def fingerprint(self) -> str:
        """Hash of the prompts; `TaskError` where they are missing."""
        if self.params.prompts is None:
            return "none"
        return sha256_of(self._file())

    def downloads(self) -> list[Download]:
        asked = self.params.prompts
        if asked is None:
            return []
        if asked.startswith(WEIGHTS):
            return weights.download(asked.removeprefix(WEIGHTS))
        if self.params.prompts_from is None or (self._folder / asked).is_file():
            return []
        return [Download(f"prompts {asked}", None, self.params.prompts_from)]

    def fetch(self) -> None:
        for item in self.downloads():
            if not (self.params.prompts or "").startswith(WEIGHTS):
                raise TaskError(f"{item.what} are not there; {item.by_hand}")
            weights.fetch((self.params.prompts or "").removeprefix(WEIGHTS))

    def items(self, limit: int | None) -> list[Item]:
        """One item for each prompt or label, `per_prompt` images each.

        The same prompt (or label) a second time counts its images on, and shares the first one's cluster.
        """
        found: list[Item] = []
        seen: Counter[tuple[str, int | None]] = Counter()
        wanted = self._conditions()
        for index, (prompt, label) in enumerate(wanted[:limit]):
            first = seen[prompt, label]
            seen[prompt, label] += self.params.per_prompt
            text = f"{prompt}\n{label}\n{first}\n{self.params.per_prompt}"
            identity = sha256(text.encode()).hexdigest()[:32]
            cluster = sha256(prompt.encode()).hexdigest()[:16] if prompt else identity
            found.append(Item(identity, index, cluster, (prompt, label, first)))
        return found

    def requests(self, items: Sequence[Item], context: Context) -> list[ImageRequest]:
        """`per_prompt` requests for each item, in order; seeds depend on item and suite alone."""
        return [
            ImageRequest(
                item.payload[0], item.payload[1], context.sample_seed(f"{item.id}/{number}"),
                item.payload[2] + number,
            )
            for item in items
            for number in range(self.params.per_prompt)
        ]  # fmt: skip

    def _conditions(self) -> list[tuple[str, int | None]]:
        from kdbench.models.image_files import read_prompts

        asked = self.params
        count = None if asked.images is None else asked.images // asked.per_prompt
        if asked.prompts is not None:
            prompts = read_prompts(self._file())
            if count is not None and count > len(prompts):
                raise TaskError(
                    f"{asked.prompts}: {count} prompts are asked for, and it has {len(prompts)}"
                )
            return [(prompt, None) for prompt in prompts[:count]]
        assert count is not None
        return [("", index % asked.labels if asked.labels else None) for index in range(count)]

    def _file(self) -> Path:
        asked = self.params.prompts or ""
        if asked.startswith(WEIGHTS):
            return weights.path_of(asked.removeprefix(WEIGHTS))
        path = self._folder / asked
        if not path.is_file():
            where = f"; {self.params.prompts_from}" if self.params.prompts_from else ""
            raise TaskError(f"{path}: no such file of prompts{where}")
        return path


def places_of(index: int, each: int) -> range:
    """Where the `each` images of an item lie among all of its task."""
    return range(index * each, (index + 1) * each)


def described(item: Item) -> Any:
    """The condition as a sample shows it."""
    prompt, label, _ = item.payload
    return prompt or ("" if label is None else f"label {label}")
