"""What the target is asked: files of prompts, sets known by name, or the prompts of an lm-eval task."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from kdbench.errors import TaskError, did_you_mean
from kdbench.models.adapter import Download
from kdbench.models.file_hash import sha256_of
from kdbench.models.hub import cache_dir
from kdbench.models.protocols import CHAT_TEMPLATE
from kdbench.models.warping import Warp
from kdbench.tasks.lmeval.hub import RemoteFile
from kdbench.tasks.reasoning import Reasoning, ReasoningParams
from kdbench.tasks.task import Item, Task, TaskParams

if TYPE_CHECKING:
    from kdbench.tasks.lmeval.documents import Conversation

_BENCH = "hf://datasets/RedHatAI/speculator_benchmarks"
KNOWN: Mapping[str, Sequence[str]] = {
    "mt_bench": ["hf://datasets/HuggingFaceH4/mt_bench_prompts/raw/question.jsonl"],
    "spec_bench": [
        f"{_BENCH}/{part}.jsonl"
        for part in ("question", "translation", "summarization", "qa", "math_reasoning", "rag")
    ],
}
"""Sets by name, and the files on the hub that hold them."""

_MT_BENCH = frozenset(
    {"writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"}
)
"""Categories that Spec-Bench counts as one of its six, mt_bench."""


class PromptParams(TaskParams):
    """Where prompts come from (`prompts` or `lm_eval`) and how the target answers them."""

    prompts: str | None = Field(
        None,
        description="a JSONL file (prompt, question or turns; category, reference), hf://datasets/..., "
        "or a set known by name: " + ", ".join(sorted(KNOWN)),
    )
    file: str | None = Field(None, description="where a set known by name lies on this machine")
    lm_eval: str | None = Field(None, description="a task of lm-eval whose prompts are asked")
    num_fewshot: int | None = Field(None, ge=0, description="lm_eval only: shots")
    category: str | None = Field(None, description="lm_eval only: document field with the category")
    cluster_by: str | None = Field(None, description="lm_eval only: equal values share a cluster")
    apply_chat_template: bool = Field(False, description="ask through the target's chat template")
    temperature: list[float] = Field(
        [0.0, 1.0], min_length=1, description="one task for each; 0 is greedy"
    )
    top_p: list[float] = Field([1.0], min_length=1, description="nucleus; one task for each")
    top_k: int = Field(0, ge=0, description="0 keeps every token")
    max_new_tokens: int = Field(256, ge=1, description="tokens of a text at most")
    stop: list[str] = Field([], description="texts end at these, besides at the end of text")
    name: str | None = Field(None, description="the name that rows carry, in place of the source's")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.prompts is None) == (self.lm_eval is None):
            raise ValueError("give the prompts' source: either prompts or lm_eval")
        if self.file is not None and self.prompts not in KNOWN:
            raise ValueError(f"file goes with a set known by name: {', '.join(sorted(KNOWN))}")
        if any(t < 0 for t in self.temperature) or any(not 0 < p <= 1 for p in self.top_p):
            raise ValueError("temperatures are 0 or more, and top_p lies above 0 and at most at 1")
        return self


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt: its text, or the chat that it begins, with what is known of it."""

    text: str | Conversation
    category: str = ""
    reference: str = ""


class PromptedTask(Task):
    """What the tasks of the family share: prompts, and one way to draw tokens."""

    params: Any
    shorthand = "prompts"

    @classmethod
    def expand(cls, params: Any, folder: Path) -> list[Any]:
        """A task for each temperature and nucleus; greedy knows no nucleus."""
        found = {}
        for temperature, top_p in product(params.temperature, params.top_p):
            warp = Warp(temperature, top_p, params.top_k) if temperature else Warp()
            found[warp] = params.model_copy(
                update={
                    "temperature": [warp.temperature], "top_p": [warp.top_p], "top_k": warp.top_k,
                }
            )  # fmt: skip
        return list(found.values())

    @property
    def warp(self) -> Warp:
        """How both models' distributions are bent."""
        params = self.params
        if params.temperature[0] == 0:
            return Warp()
        return Warp(params.temperature[0], params.top_p[0], params.top_k)

    @property
    def label(self) -> str:
        return f"{self.name}/{self._source}/{_drawn(self.warp).replace('=', '').replace(', ', '-')}"

    @property
    def _source(self) -> str:
        params = self.params
        if params.name:
            return str(params.name)
        if self._documents is not None:
            return self._documents.label.removeprefix("reasoning/")
        return str(params.prompts) if params.prompts in KNOWN else Path(params.prompts).stem

    @cached_property
    def _documents(self) -> Reasoning | None:
        params = self.params
        if params.lm_eval is None:
            return None
        asked = ReasoningParams(
            lm_eval=params.lm_eval,
            num_fewshot=params.num_fewshot,
            category=params.category,
            cluster_by=params.cluster_by,
            apply_chat_template=params.apply_chat_template,
        )
        return Reasoning(asked, self.folder)

    def identity(self) -> dict[str, Any]:
        params = self.params
        own: dict[str, Any] = self._documents.identity() if self._documents else {}
        return {
            **own,
            "warp": [self.warp.temperature, self.warp.top_p, self.warp.top_k],
            "max_new_tokens": params.max_new_tokens,
            "stop": params.stop,
            "chat": params.apply_chat_template,
            "set": params.prompts if params.prompts in KNOWN else None,
        }

    def protocol(self) -> dict[str, str]:
        params = self.params
        if self._documents is not None:
            own = self._documents.protocol()
            parts = {key: own[key] for key in ("harness", "task", "recipe", "shots")}
        else:
            parts = {"prompts": f"{self._source}, first turn"}
        if params.apply_chat_template:
            parts["chat"] = "template"
        parts["sampling"] = _drawn(self.warp)
        parts["max_new_tokens"] = str(params.max_new_tokens)
        if params.stop:
            parts["stop"] = json.dumps(params.stop).replace(";", "\\u003b")
        return parts

    def data_fingerprint(self) -> str:
        if self._documents is not None:
            return self._documents.data_fingerprint()
        whole = sha256("".join(sha256_of(path) for path in self._paths()).encode())
        return f"sha256:{whole.hexdigest()[:32]}"

    def downloads(self) -> list[Download]:
        if self._documents is not None:
            return self._documents.downloads()
        missing = [one for one in self._files() if isinstance(one, RemoteFile) and not one.local()]
        return [
            Download(f"{one.path} of the data set {one.repository}", None, one.by_hand)
            for one in missing
        ]

    def fetch(self) -> None:
        if self._documents is not None:
            self._documents.fetch()
            return
        for one in self._files():
            if isinstance(one, RemoteFile) and not one.local():
                one.fetch()

    def items(self, limit: int | None) -> list[Item]:
        if self._documents is not None:
            return [
                Item(item.id, item.index, item.cluster, self._asked(item.payload))
                for item in self._documents.items(limit)
            ]
        found: list[Item] = []
        known: dict[str, int] = {}
        for asked in self._rows():
            if limit is not None and len(found) == limit:
                break
            key = sha256(f"{asked.text}\0{asked.reference}".encode()).hexdigest()[:24]
            # the same prompt again is another sample of the same cluster
            known[key] = known.get(key, 0) + 1
            name = key if known[key] == 1 else f"{key}-{known[key]}"
            found.append(Item(name, len(found), key, asked))
        if not found:
            raise TaskError(
                f"{self.label}: there is no prompt in {', '.join(map(str, self._paths()))}"
            )
        return found

    def _chat_verbs(self) -> frozenset[str]:
        return frozenset({CHAT_TEMPLATE} if self.params.apply_chat_template else set())

    @abstractmethod
    def verbs(self) -> frozenset[str]: ...

    def _asked(self, question: Any) -> Asked:
        from kdbench.tasks.lmeval.documents import field_of

        category = self.params.category
        shown = (
            field_of(question.document, category, self.label, question.index) if category else ""
        )
        return Asked(question.requests[0].args[0], str(shown), str(question.target))

    def _files(self) -> list[Path | RemoteFile]:
        params = self.params
        names = [params.file] if params.file else KNOWN.get(params.prompts, [params.prompts])
        return [RemoteFile.parse(one) or self._local(one) for one in names]

    def _local(self, name: str) -> Path:
        path = self.folder / Path(name).expanduser()
        if not path.is_file():
            near = did_you_mean(name, list(KNOWN))
            raise TaskError(
                f"no file of prompts {name} in {self.folder}{near}; give a JSONL file, "
                f"hf://datasets/owner/set/file.jsonl, or one of {', '.join(sorted(KNOWN))}"
            )
        return path

    def _paths(self) -> list[Path]:
        found = []
        for one in self._files():
            path = one.local() if isinstance(one, RemoteFile) else one
            if path is None:
                assert isinstance(one, RemoteFile)
                raise TaskError(
                    f"{one.path} of the data set {one.repository} is not in the Hugging Face cache "
                    f"({cache_dir()}); fetch it with: {one.by_hand}"
                )
            found.append(path)
        return found

    def _rows(self) -> Iterator[Asked]:
        for path in self._paths():
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield self._row(line, f"{path.name}:{number}")

    def _row(self, line: str, where: str) -> Asked:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise TaskError(f"{where}: not JSON ({error})") from error
        given = row if isinstance(row, dict) else {}
        key = next((key for key in ("prompt", "turns", "question") if given.get(key)), None)
        text = _first(given[key]) if key else None
        if text is None:
            raise TaskError(f"{where}: no prompt in it; a row has prompt, question or turns")
        category = str(given.get("category") or "")
        if self.params.prompts == "spec_bench" and category in _MT_BENCH:
            category = "mt_bench"
        prompt: str | Conversation = text
        if self.params.apply_chat_template:
            from kdbench.tasks.lmeval.documents import Conversation

            prompt = Conversation.of([{"role": "user", "content": text}])
        return Asked(prompt, category, _first(given.get("reference")) or "")


def rendered(model: Any, text: str | Conversation) -> str:
    """A prompt as the model reads it; a chat through the model's own template."""
    messages = getattr(text, "messages", None)
    return text if messages is None else str(model.apply_chat_template(messages))


def _first(value: Any) -> str | None:
    """A text, or the first of several turns."""
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, str) and value else None


def _drawn(warp: Warp) -> str:
    if warp.temperature == 0:
        return "greedy"
    parts = [f"temperature={warp.temperature:g}"]
    parts += [f"top_p={warp.top_p:g}"] if warp.top_p < 1 else []
    parts += [f"top_k={warp.top_k}"] if warp.top_k else []
    return ", ".join(parts)
