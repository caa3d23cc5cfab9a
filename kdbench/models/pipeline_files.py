"""The files of a diffusers pipeline, judged and hashed without loading them.

A folder as `save_pretrained` writes it: `model_index.json` names the components, each in a folder of its
own with its configuration and its weights. Weights are read from safetensors only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kdbench.errors import ModelError
from kdbench.models.adapter import Size
from kdbench.models.checkpoint import content_digest, read_json, tensor_elements
from kdbench.models.file_hash import digest_of, sha256_of
from kdbench.models.hub import Wanted

OWN_PIPELINE = "ClassConditionalPipeline"
"""The one pipeline class that is kdbench's and not diffusers'."""

UNUSED = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
"""Components that are never loaded: a blackened or refused image would be measured as the model's."""

_SHARD = re.compile(
    r"(diffusion_pytorch_model|model|pytorch_model)(-\d{5}-of-\d{5})?\.safetensors\Z"
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def wanted(variant: str | None) -> Wanted:
    """What a pipeline needs of a repository; a variant (fp16) only where it is asked for."""
    weights = f"*/*{variant}*.safetensors" if variant else "*/*.safetensors"
    ignored = (*(f"{name}/*" for name in sorted(UNUSED)), "*non_ema*", "*flax*", "*openvino*")
    if variant is None:
        ignored += ("*.fp16*.safetensors", "*.bf16*.safetensors")
    return Wanted(
        ("model_index.json", "*/*.json", "*/*.txt", "*/*.model", weights),
        ignored,
        needs="*.safetensors",
    )


@dataclass(frozen=True)
class PipelineFiles:
    """The pipeline in `folder`; `replaced` maps components to folders that stand in for them."""

    folder: Path
    variant: str | None = None
    replaced: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def index(self) -> dict[str, Any]:
        """model_index.json."""
        path = self.folder / "model_index.json"
        if not path.is_file():
            raise ModelError(
                f"{self.folder}: no model_index.json; a pipeline's folder is written by "
                "`pipeline.save_pretrained(folder)` of diffusers"
            )
        return read_json(path)

    @property
    def class_name(self) -> str:
        """The pipeline's class; `ModelError` where it is code of the repository."""
        name = self.index.get("_class_name")
        if not isinstance(name, str):
            raise ModelError(
                f"{self.folder}: the pipeline is code of its own repository ({name}); only classes of "
                "diffusers are loaded"
            )
        return name

    @property
    def components(self) -> dict[str, tuple[str, str]]:
        """Component to library and class, those that are loaded."""
        return {
            name: (value[0], value[1])
            for name, value in self.index.items()
            if isinstance(value, list) and len(value) == 2 and all(value) and name not in UNUSED
        }

    def check(self) -> None:
        """Raise `ModelError` for a component that is missing, has no safetensors or brings own code."""
        self.class_name  # noqa: B018 - refuses code of the repository
        for name, (library, kind) in self.components.items():
            if library not in ("diffusers", "transformers"):
                raise ModelError(
                    f"{self.folder}: the component {name} ({library}.{kind}) is code of its own "
                    "repository; only classes of diffusers and transformers are loaded"
                )
            self.weight_files(name)

    def place(self, component: str) -> Path:
        """The component's folder; `ModelError` where it is not there."""
        folder = self.replaced.get(component, self.folder / component)
        if not folder.is_dir():
            raise ModelError(f"{folder}: the pipeline's component {component} is missing")
        return folder

    def weight_files(self, component: str) -> list[Path]:
        """The component's weights, in the chosen variant where it has one; empty where it needs none."""
        folder = self.place(component)
        if not (folder / "config.json").is_file():
            return []
        files = sorted(folder.glob("*.safetensors"))
        chosen = [file for file in files if self.variant and f".{self.variant}" in file.name]
        chosen = chosen or [file for file in files if _SHARD.match(file.name)]
        if chosen:
            return chosen
        pickled = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
        why = "no weights"
        if pickled:
            why = f"its weights are pickled ({pickled[0]}), and reading a pickle can run any code"
        raise ModelError(
            f"{folder}: {why}; expected "
            "diffusion_pytorch_model.safetensors or model.safetensors"
            + (f" (variant {self.variant})" if self.variant else "")
        )

    def fingerprint(self) -> dict[str, str]:
        """Digests of the pipeline's class and of every component's weights and configuration."""
        parts = {"pipeline": content_digest(_shape(self.index))}
        for name, (library, kind) in sorted(self.components.items()):
            files = {file.name: sha256_of(file) for file in self.weight_files(name)}
            for file in sorted(self.place(name).rglob("*")):
                if file.suffix == ".json":
                    if not file.name.endswith(".index.json"):
                        files[file.name] = content_digest(_object(file))
                elif file.suffix in (".txt", ".model"):
                    files[file.name] = sha256_of(file)
            parts[name] = digest_of({**files, "class": f"{library}.{kind}"})
        return parts

    def size(self) -> Size:
        """Numbers and bytes of all weights that are loaded."""
        files = [file for name in self.components for file in self.weight_files(name)]
        return Size(sum(map(tensor_elements, files)), sum(file.stat().st_size for file in files))


def _shape(index: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in index.items() if name not in UNUSED}


def _object(file: Path) -> dict[str, Any]:
    """A JSON file as an object, whatever it holds."""
    import json

    try:
        return {"": json.loads(file.read_text(encoding="utf-8"))}
    except ValueError as error:
        raise ModelError(f"{file}: not JSON ({error}); fetch the file again") from error
