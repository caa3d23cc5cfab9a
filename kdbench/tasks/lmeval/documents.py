"""lm-eval's task object and the questions that it makes of its documents. Heavy: imports lm-eval.

Prompts equal those of `lm_eval.simple_evaluate` to the last character. Two things that it wastes
time on are left out: compiling the same Jinja template again for each field of each document, and
turning a whole training split into Python objects where no shots are asked for.
"""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from kdbench.errors import TaskError
from kdbench.tasks.lmeval import data
from kdbench.tasks.lmeval.yamls import FunctionReference, is_local_data

_NOT_FOR_TASK = ("tag", "group", "task_list")
_TEMPLATE_FIELDS = ("doc_to_text", "doc_to_target", "doc_to_choice")
_TEMPLATES_KEPT = 4096
_NAMES_LOOKED_UP = 3
"""How often lm-eval looks up a task's name between loading and asking. Each time it draws a random
name and throws it away, so a task whose code draws too would ask something else without it."""


class Conversation(str):
    """Chat messages that wait for a model's template; as text, their JSON."""

    messages: list[dict[str, str]]
    add_generation_prompt: bool

    @classmethod
    def of(cls, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> Conversation:
        made = cls(json.dumps(messages, ensure_ascii=False))
        made.messages = messages
        made.add_generation_prompt = add_generation_prompt
        return made


@dataclass(frozen=True, slots=True)
class Question:
    """One document as lm-eval asks it: its `requests` are lm-eval Instances, not yet answered."""

    id: str
    index: int
    document: Any
    requests: list[Any]
    contexts: list[str]
    target: Any
    cluster: str


@dataclass
class Settings:
    """What a suite can change about how lm-eval asks.

    `may_draw` says that the task's Python code may use random numbers. What it draws must not
    depend on what an earlier run left in a cache, so nothing is then taken from there or skipped.
    """

    shots: int
    fewshot_seed: int
    chat: bool
    multiturn: bool
    system: str | None
    generation: Mapping[str, Any]
    cluster_by: str | None
    may_draw: bool


@dataclass
class Documents:
    """A task's questions, built in their order and kept for the next model.

    The order matters: lm-eval draws the shots of all documents from one random stream.
    """

    name: str
    path: Path | None
    overrides: Mapping[str, Any]
    folders: Sequence[Path]
    settings: Settings
    _built: list[Question] = field(default_factory=list, init=False)
    _seen: dict[str, int] = field(default_factory=dict, init=False)
    _randomness: tuple[Any, Any] | None = field(default=None, init=False)
    _templates: dict[str, Any] = field(default_factory=dict, init=False)

    @cached_property
    def task(self) -> Any:
        """lm-eval's task with its documents. Raises `TaskError` where they can't be loaded."""
        with _quiet(), _caching(not self.settings.may_draw), self._random_state():
            made = self._make_task()
            for _ in range(_NAMES_LOOKED_UP):
                _ = made.task_name
        made.set_fewshot_seed(self.settings.fewshot_seed)
        return made

    def questions(self, limit: int | None) -> list[Question]:
        """The first `limit` questions (all where None)."""
        rows = self.task.task_docs
        wanted = len(rows) if limit is None else min(limit, len(rows))
        if len(self._built) < wanted:
            start = len(self._built)
            part = rows if start == 0 and wanted == len(rows) else _part(rows, start, wanted)
            with self._random_state(), _compiled_once(self._templates):
                for index, document in enumerate(part, start):
                    self._built.append(self._question(index, document))
        return self._built[:wanted]

    def scoring(self) -> Any:
        """Context in which the task's templates may be applied again."""
        return _compiled_once(self._templates)

    @contextmanager
    def drawing(self, question: Question) -> Iterator[None]:
        """Random numbers of its own for the code that scores a question, whatever ran before."""
        if not self.settings.may_draw:
            yield
            return
        with _restored_randomness():
            _seed(int(sha256(question.id.encode()).hexdigest()[:8], 16), 1234)
            yield

    def _make_task(self) -> Any:
        import datasets
        from jinja2 import TemplateError

        config = self._config()
        self._check_files(config)
        try:
            return _task_class(self.settings.may_draw)(config=config)
        except (
            OSError, ValueError, TypeError, KeyError, AttributeError, ImportError,
            TemplateError, datasets.exceptions.DatasetsError,
        ) as error:  # fmt: skip
            raise TaskError(
                f"lm-eval task {self.name!r} ({self.path or 'defined in its group'}) can't be "
                f"built: {type(error).__name__}: {error}"
            ) from error

    def _config(self) -> dict[str, Any]:
        from lm_eval.tasks._yaml_loader import load_yaml

        config: dict[str, Any] = load_yaml(self.path, resolve_func=True) if self.path else {}
        config.update(_resolved(copy.deepcopy(dict(self.overrides))))
        for key in _NOT_FOR_TASK:
            config.pop(key, None)
        metadata = config.get("metadata", {})
        config["metadata"] = metadata if isinstance(metadata, dict) else {"_metadata": metadata}
        config["task"] = self.name
        config["num_fewshot"] = self.settings.shots
        if config.get("output_type", "generate_until") == "generate_until":
            config["generation_kwargs"] = copy.deepcopy(dict(self.settings.generation))
        return data.located(config, self.folders)

    def _check_files(self, config: Mapping[str, Any]) -> None:
        if config.get("custom_dataset") or not is_local_data(config):
            return
        for split, files in data.local_files(config, self.folders).items():
            if files and not any(file.stat().st_size for file in files):
                names = ", ".join(str(file) for file in files)
                raise TaskError(
                    f"lm-eval task {self.name!r} has no documents: {names} ({split}) is empty"
                )

    def _question(self, index: int, document: Any) -> Question:
        task, asked = self.task, self.settings
        mine = copy.deepcopy(document) if self._runs_code else document
        template = Conversation.of if asked.chat else None
        chat = {"apply_chat_template": asked.chat, "chat_template": template}
        context = task.fewshot_context(
            mine,
            num_fewshot=asked.shots,
            system_instruction=asked.system,
            fewshot_as_multiturn=asked.multiturn,
            gen_prefix=task.doc_to_prefix(mine),
            **chat,
        )
        made = task.construct_requests(
            doc=mine, ctx=context, metadata=(self.name, index, task.config.repeats), **chat
        )
        requests = made if isinstance(made, list) else [made]
        contexts = [context] if isinstance(context, str) else list(context)
        target = task.doc_to_target(mine)
        digest = _digest([document, contexts, target])
        repeat = self._seen.get(digest, 0)
        self._seen[digest] = repeat + 1
        return Question(
            id=f"{digest}#{repeat}" if repeat else digest,
            index=index,
            document=document,
            requests=requests,
            contexts=contexts,
            target=target,
            cluster=self._cluster(index, mine, contexts, requests),
        )

    def _cluster(self, index: int, document: Any, contexts: list[str], requests: list[Any]) -> str:
        """Documents with the same question share a cluster, or those with the same `cluster_by`."""
        if by := self.settings.cluster_by:
            return _short(field_of(document, by, self.name, index))
        template = self.task.config.doc_to_text
        if isinstance(template, str):
            if template in self.task.features or "{{" in template or "{%" in template:
                question = self.task.doc_to_text(document)
                if isinstance(question, str) and question.strip():
                    return _short(question)
        elif any(contexts):
            return _short(contexts)
        # the same words for every document, or none: what is scored tells the documents apart
        return _short([request.args[:2] for request in requests])

    @cached_property
    def _runs_code(self) -> bool:
        """Python functions may change the document that they are given; templates can't."""
        config = self.task.config
        return any(callable(getattr(config, name)) for name in _TEMPLATE_FIELDS)

    @contextmanager
    def _random_state(self) -> Iterator[None]:
        """The global generators as `simple_evaluate` seeds them; each call goes on where the last
        one ended."""
        import numpy as np

        with _restored_randomness():
            if self._randomness is None:
                _seed(0, 1234)
            else:
                random.setstate(self._randomness[0])
                np.random.set_state(self._randomness[1])
            try:
                yield
            finally:
                self._randomness = (random.getstate(), np.random.get_state())


def field_of(document: Mapping[str, Any], name: str, task: str, index: int) -> Any:
    """A document's field; `TaskError` with the fields that there are."""
    if name not in document:
        raise TaskError(
            f"lm-eval task {task!r}: document {index} has no field {name!r} "
            f"(it has {', '.join(map(str, document))})"
        )
    return document[name]


def function(reference: FunctionReference) -> Callable[..., Any]:
    """Import what a `!function` names, as lm-eval does."""
    from lm_eval.tasks._yaml_loader import _import_func_in_yml

    try:
        return _import_func_in_yml(reference.spec, reference.folder or Path.cwd())  # type: ignore[no-any-return]
    except (ImportError, AttributeError, ValueError) as error:
        raise TaskError(f"!function {reference.spec}: {error}") from error


def _resolved(value: Any) -> Any:
    if isinstance(value, FunctionReference):
        return function(value)
    if isinstance(value, dict):
        return {key: _resolved(part) for key, part in value.items()}
    return [_resolved(part) for part in value] if isinstance(value, list) else value


def _task_class(may_draw: bool) -> Any:
    from lm_eval.api.task import ConfigurableTask

    class Task(ConfigurableTask):  # type: ignore[misc]
        def fewshot_docs(self) -> Any:
            return super().fewshot_docs() if self.config.num_fewshot or may_draw else None

        @cached_property
        def eval_docs(self) -> Any:
            found = super().eval_docs
            if not len(found):
                raise TaskError(
                    f"lm-eval task {self.config.task!r} has no documents: its split is empty"
                )
            return found

    return Task


def _seed(python: int, numpy: int) -> None:
    import numpy as np

    random.seed(python)
    np.random.seed(numpy)


@contextmanager
def _restored_randomness() -> Iterator[None]:
    """The process's global generators are left as they were found."""
    import numpy as np

    outside = (random.getstate(), np.random.get_state())
    try:
        yield
    finally:
        random.setstate(outside[0])
        np.random.set_state(outside[1])


def _part(rows: Any, start: int, stop: int) -> Any:
    return rows.select(range(start, stop)) if hasattr(rows, "select") else rows[start:stop]


def _short(value: Any) -> str:
    if isinstance(value, (str, int)) and len(str(value)) <= 32 and "\n" not in str(value):
        return str(value)
    return _digest(value)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@contextmanager
def _compiled_once(templates: dict[str, Any]) -> Iterator[None]:
    """Keep what lm-eval's Jinja environment compiles: the same text is always the same template."""
    from lm_eval.utils import env

    compile_ = env.from_string

    def from_string(source: Any, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or not isinstance(source, str):
            return compile_(source, *args, **kwargs)
        template = templates.get(source)
        if template is None:
            if len(templates) >= _TEMPLATES_KEPT:
                templates.clear()
            template = templates[source] = compile_(source)
        return template

    vars(env)["from_string"] = from_string
    try:
        yield
    finally:
        del vars(env)["from_string"]


@contextmanager
def _caching(wanted: bool) -> Iterator[None]:
    """Whether the datasets library may take a processed split from its cache."""
    import datasets

    before = datasets.is_caching_enabled()
    if before and not wanted:
        datasets.disable_caching()
    try:
        yield
    finally:
        if before:
            datasets.enable_caching()


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of the datasets library: kdbench shows its own."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown and not os.environ.get("HF_DATASETS_DISABLE_PROGRESS_BARS"):
            datasets.enable_progress_bars()
