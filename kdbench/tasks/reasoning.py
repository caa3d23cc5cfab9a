"""The reasoning family: lm-eval's tasks, asked and scored as lm-eval does, on any kdbench model.

A task is named as lm-eval names it, or is a YAML file of the suite. Everything here reads only
YAML; the documents are loaded and scored by `kdbench.tasks.lmeval` in the worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from kdbench.errors import TaskError
from kdbench.models.adapter import Download
from kdbench.models.protocols import (
    CHAT_TEMPLATE,
    GENERATE_TEXT,
    SCORE_ROLLING,
    SCORE_TEXT,
    SCORE_WINDOWS,
)
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.aggregate import OWN
from kdbench.tasks.lmeval import data, generation, index, members, metrics, yamls
from kdbench.tasks.task import Context, Item, Metric, ModelTask, TaskParams

if TYPE_CHECKING:
    from kdbench.stats import Estimate
    from kdbench.tasks.lmeval.documents import Documents
    from kdbench.tasks.lmeval.scoring import Scoring
    from kdbench.tasks.panel import Panel

_VERBS: Mapping[str, str] = {
    "loglikelihood": SCORE_TEXT,
    "multiple_choice": SCORE_TEXT,
    "loglikelihood_rolling": SCORE_ROLLING,
    "generate_until": GENERATE_TEXT,
}


class ReasoningParams(TaskParams):
    """`lm_eval` names the task; the rest changes how it is asked, as lm-eval's own options do."""

    lm_eval: str = Field(description="task, group or tag of lm-eval, or path of a task's YAML")
    num_fewshot: int | None = Field(None, ge=0, description="shots; the task's own where not given")
    fewshot_seed: int = Field(1234, description="seed of the stream that shots are drawn from")
    apply_chat_template: bool = Field(False, description="ask through the model's chat template")
    fewshot_as_multiturn: bool = Field(True, description="in a chat, a turn per shot")
    system_instruction: str | None = Field(None, description="text in front of all else")
    gen_kwargs: dict[str, Any] = Field({}, description="generation settings over the task's own")
    overrides: dict[str, Any] = Field({}, description="keys of the task's YAML to replace")
    window: int | None = Field(
        None,
        ge=2,
        description="perplexity only: tokens of each window; default: the model's context",
    )
    stride: int | None = Field(
        None,
        ge=1,
        description="perplexity only: tokens that each further window scores (needs window)",
    )
    cluster_by: str | None = Field(None, description="document field; equal values share a cluster")
    category: str | None = Field(None, description="document field kept as the sample's category")
    name: str | None = Field(None, description="the name that rows carry, in place of the task's")
    group: str | None = Field(None, description="set by kdbench: the group that named this task")

    @model_validator(mode="after")
    def _windows_fit(self) -> ReasoningParams:
        if (self.window is None) != (self.stride is None):
            raise ValueError("window and stride go together")
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(f"stride ({self.stride}) is more than window ({self.window})")
        return self


@task("reasoning")
class Reasoning(ModelTask):
    """One lm-eval task. Its cheap methods never import lm-eval; see `kdbench.tasks.lmeval`."""

    version = 1
    about = "lm-eval's tasks (accuracy, exact match, perplexity, ...), or a YAML of your own"
    source = "EleutherAI lm-evaluation-harness 0.4.13, driven through its own task objects"
    Params = ReasoningParams
    shorthand = "lm_eval"
    params: ReasoningParams

    @classmethod
    def expand(cls, params: ReasoningParams, folder: Path) -> list[ReasoningParams]:
        """The members of a group or tag. Raises `TaskError` for a name that nobody knows."""
        if members.inline(params.lm_eval):
            return [params]
        path = _yaml_path(params.lm_eval, folder)
        found = members.expand(params.lm_eval, path)
        if len(found) == 1 and (
            found[0].name == params.lm_eval or (path and found[0].path == path)
        ):
            return [params]
        return [
            params.model_copy(
                update={
                    "lm_eval": member.name,
                    "overrides": {**yamls.to_json(member.overrides), **params.overrides},
                    "name": f"{params.name}/{member.name}" if params.name else None,
                    "group": _group_label(params, member),
                }
            )
            for member in found
        ]

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return metrics.known()

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import REASONING

        return REASONING

    @property
    def label(self) -> str:
        return f"reasoning/{self.params.name or self._task_name}"

    @property
    def group(self) -> str | None:
        return f"reasoning/{self.params.group}" if self.params.group else None

    def identity(self) -> dict[str, Any]:
        return {"cluster_by": self.params.cluster_by, "category": self.params.category}

    def verbs(self) -> frozenset[str]:
        self._check()
        verb = _VERBS[self._config.get("output_type", "generate_until")]
        if self._windows is not None:
            verb = SCORE_WINDOWS
        return frozenset({verb, CHAT_TEMPLATE} if self.params.apply_chat_template else {verb})

    def metrics(self) -> list[Metric]:
        if "class" in self._config:
            return []
        return metrics.metrics(self._config)

    def protocol(self) -> dict[str, str]:
        asked, config = self.params, self._config
        metadata = config.get("metadata")
        version = metadata.get("version", "") if isinstance(metadata, dict) else ""
        parts = {
            "harness": f"lm-eval {index.lm_eval_version()}",
            "task": f"{self._task_name} {version}".strip(),
            "recipe": yamls.config_hash(config),
            "shots": str(self._shots),
        }
        if self._shots:
            parts["fewshot_seed"] = str(asked.fewshot_seed)
        if asked.apply_chat_template:
            parts["chat"] = "turns" if asked.fewshot_as_multiturn else "one turn"
        if self._windows is not None:
            parts["window"], parts["stride"] = (str(count) for count in self._windows)
        if asked.system_instruction is not None:
            parts["system"] = sha256(asked.system_instruction.encode()).hexdigest()[:16]
        if config.get("output_type", "generate_until") == "generate_until":
            settings = json.dumps(self._generation, sort_keys=True, ensure_ascii=False, default=str)
            parts["generation"] = settings.replace(";", "\\u003b")  # "; " separates the parts
        return parts

    def data_fingerprint(self) -> str:
        self._check()
        return data.fingerprint(self._config, self._folders)

    def downloads(self) -> list[Download]:
        return data.downloads(self._config)

    def fetch(self) -> None:
        data.fetch(self._config)

    def items(self, limit: int | None) -> list[Item]:
        self._check()
        questions = self._documents.questions(limit)
        return [Item(one.id, one.index, one.cluster, one) for one in questions]

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        questions = [item.payload for item in items]
        return self._scoring.samples(model, questions, context.sample_seed)

    def summarise(self, samples: Sequence[Sample], context: Context) -> dict[str, Estimate]:
        """Metrics that the task aggregates by code of its own."""
        own = [metric for metric in self.metrics() if metric.aggregation == OWN]
        if not own:
            return {}
        from kdbench.tasks.lmeval.own import summarise

        return summarise(self._config, own, samples)

    @property
    def _task_name(self) -> str:
        if self._path and not members.inline(self.params.lm_eval) and _is_path(self.params.lm_eval):
            return str(self._config["task"])
        return self.params.lm_eval

    @cached_property
    def _path(self) -> Path | None:
        name = self.params.lm_eval
        if members.inline(name):
            return None
        return _yaml_path(name, self.folder) or index.entry(name).path

    @cached_property
    def _config(self) -> dict[str, Any]:
        """The task's YAML under the suite's overrides, functions as references."""
        config = yamls.read(self._path) if self._path else {}
        return {**config, **yamls.from_json(self.params.overrides)}

    @property
    def _shots(self) -> int:
        own = self._config.get("num_fewshot")
        if own == 0 or self.params.num_fewshot is None:
            return int(own or 0)  # lm-eval keeps a task's own 0 whatever is asked for
        return self.params.num_fewshot

    @property
    def _generation(self) -> dict[str, Any]:
        return generation.effective(self._config, self.params.gen_kwargs)

    @property
    def _folders(self) -> list[Path]:
        """Where relative data files are looked for: beside the YAML, then beside the suite."""
        return [*([self._path.parent] if self._path else []), self.folder]

    def _check(self) -> None:
        """Refuse what kdbench can't do, or won't do unasked."""
        config, name = self._config, self._task_name
        if "class" in config:
            raise TaskError(
                f"lm-eval task {name!r} is a Python class ({self._path}), which does not say "
                "beforehand what it needs and scores; kdbench runs tasks that are YAML recipes"
            )
        if config.get("doc_to_image") or config.get("doc_to_audio"):
            raise TaskError(
                f"lm-eval task {name!r} asks about images or sound; kdbench's models read text"
            )
        if config.get("unsafe_code"):
            raise TaskError(
                f"lm-eval task {name!r} runs the programs that a model writes, outside any sandbox; "
                "kdbench runs such programs in one: `task: code` with problems: humaneval or mbpp, and "
                "--allow-code-execution"
            )

    @cached_property
    def _documents(self) -> Documents:
        from kdbench.tasks.lmeval.documents import Documents, Settings

        asked = self.params
        settings = Settings(
            shots=self._shots,
            fewshot_seed=asked.fewshot_seed,
            chat=asked.apply_chat_template,
            multiturn=asked.fewshot_as_multiturn,
            system=asked.system_instruction,
            generation=self._generation,
            cluster_by=asked.cluster_by,
            may_draw=yamls.may_draw(self._config),
        )
        overrides = yamls.from_json(asked.overrides)
        return Documents(self._task_name, self._path, overrides, self._folders, settings)

    @cached_property
    def _scoring(self) -> Scoring:
        from kdbench.tasks.lmeval.scoring import Scoring

        names = frozenset(metric.name for metric in self.metrics())
        return Scoring(self._documents, names, self.params.category, self._windows)

    @property
    def _windows(self) -> tuple[int, int] | None:
        """Size and stride of the windows of a perplexity. Raises `TaskError` for other tasks."""
        if self.params.window is None or self.params.stride is None:
            return None
        if self._config.get("output_type") != "loglikelihood_rolling":
            raise TaskError(f"{self.label}: only perplexities (rolling) have a window and a stride")
        return self.params.window, self.params.stride


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _yaml_path(name: str, folder: Path) -> Path | None:
    """The YAML file that a parameter names, None where it is a name of lm-eval's."""
    if not _is_path(name):
        return None
    path = folder / Path(name).expanduser()
    if not path.is_file():
        raise TaskError(f"no task file {name} in {folder}")
    return path


def _group_label(params: ReasoningParams, member: members.Member) -> str | None:
    if member.group is None:
        return None
    is_whole = member.group == params.lm_eval or _is_path(params.lm_eval)
    return params.name if params.name and is_whole else member.group
