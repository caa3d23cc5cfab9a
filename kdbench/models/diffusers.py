"""Image generators that the diffusers library loads: any `DiffusionPipeline`, few-step ones too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from kdbench.errors import ModelError
from kdbench.models import hub
from kdbench.models.adapter import Adapter, AdapterParams, Download, Size
from kdbench.models.file_hash import sha256_of
from kdbench.models.hub import Wanted
from kdbench.models.pipeline_files import PipelineFiles, wanted
from kdbench.models.place import Place
from kdbench.models.protocols import GENERATE_IMAGES, TIME_IMAGES
from kdbench.models.requirements import require
from kdbench.registry import adapter

if TYPE_CHECKING:
    from pathlib import Path

    from kdbench.models.image_pipeline import ImagePipeline

UNSEEDED = frozenset({"DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler"})
"""Schedulers that draw noise for a whole batch from a source that no image's seed reaches."""


class DiffusersParams(AdapterParams):
    """`models.<name>` with `adapter: diffusers`; paths are relative to the suite's folder."""

    path: str = Field(description="folder of a pipeline, or hf:org/name@revision")
    revision: str | None = Field(None, description="branch, tag or commit of a hub repository")
    variant: str | None = Field(None, description="variant of the weight files, such as fp16")
    steps: int | None = Field(
        None, ge=1, description="num_inference_steps; default: the pipeline's own"
    )
    timesteps: list[int] | None = Field(
        None, min_length=1, description="the time steps themselves, instead of `steps`"
    )
    guidance: float | None = Field(None, description="guidance_scale; default: the pipeline's own")
    scheduler: str | None = Field(
        None,
        description="a scheduler of diffusers instead of the pipeline's own (LCMScheduler, ...)",
    )
    scheduler_options: dict[str, Any] = Field(
        default_factory=dict, description="keys of the scheduler's configuration to change"
    )
    lora: str | None = Field(None, description="LoRA to fuse: a folder, or hf:org/name@revision")
    lora_file: str | None = Field(None, description="safetensors file inside `lora`")
    lora_scale: float = Field(1.0, description="weight that the LoRA is fused with")
    components: dict[str, str] = Field(
        default_factory=dict,
        description="component -> folder or hub repository that stands in for it (unet: hf:...)",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="further arguments of the pipeline's call (height, width, negative_prompt, ...)",
    )

    @field_validator("scheduler")
    @classmethod
    def _is_seeded(cls, name: str | None) -> str | None:
        if name in UNSEEDED:
            raise ValueError(
                f"{name} draws noise that no image's seed reaches, so an image would depend on its "
                "batch; take another scheduler"
            )
        return name

    @model_validator(mode="after")
    def _fits(self) -> DiffusersParams:
        if self.timesteps is not None and self.steps not in (None, len(self.timesteps)):
            raise ValueError(f"steps: {self.steps} and {len(self.timesteps)} timesteps contradict")
        if self.lora_file is not None and self.lora is None:
            raise ValueError("`lora_file` names a file inside `lora`, which is missing")
        return self


@adapter("diffusers")
class DiffusersAdapter(Adapter):
    about = (
        "image generators in diffusers' layout, with scheduler, steps, guidance and LoRA of choice"
    )
    Params = DiffusersParams
    params: DiffusersParams
    version: ClassVar[int] = 1
    """Raised when the same files begin to give other images."""

    @property
    def files(self) -> PipelineFiles:
        """The pipeline's files; `ModelError` where they are not here."""
        replaced = {name: place.at_hand() for name, place in self._replaced().items()}
        return PipelineFiles(self._pipeline.at_hand(), self.params.variant, replaced)

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_IMAGES, TIME_IMAGES})

    def check(self) -> None:
        if not self.downloads():
            files = self.files
            files.check()
            unknown = sorted(set(self.params.components) - set(files.components))
            if unknown:
                raise ModelError(
                    f"{files.folder}: the pipeline has no component {unknown[0]!r}; it has "
                    f"{', '.join(files.components)}"
                )
            self.lora_path()
        require("torch", "diffusers", "safetensors", extra="images")
        if self.params.lora is not None:
            require("peft", extra="peft")

    def fingerprint(self) -> dict[str, str]:
        asked = self.params
        parts = {"adapter": f"{self.name}/{self.version}", **self.files.fingerprint()}
        parts["revision"] = self._pipeline.commit or "none"
        parts["dtype"] = self.settings.dtype
        parts["steps"] = json.dumps(asked.timesteps or asked.steps)
        parts["guidance"] = json.dumps(asked.guidance)
        parts["sampler"] = json.dumps([asked.scheduler, asked.scheduler_options], sort_keys=True)
        parts["options"] = json.dumps(asked.options, sort_keys=True, default=str)
        if asked.lora is not None:
            path = self.lora_path()
            assert path is not None
            parts["lora"] = f"{sha256_of(path)} x {asked.lora_scale:g}"
        return parts

    def size(self) -> Size | None:
        return None if self.downloads() else self.files.size()

    def downloads(self) -> list[Download]:
        return [
            hub.download(place.hub, want)
            for place, want in self._wanted()
            if place.hub is not None and not self._complete(place)
        ]

    def fetch(self) -> None:
        for place, want in self._wanted():
            if place.hub is not None and not self._complete(place):
                hub.fetch(place.hub, want)

    def load(self) -> ImagePipeline:
        from kdbench.models.image_pipeline import load_image_pipeline

        self.check()
        return load_image_pipeline(self.files, self.lora_path(), self.params, self.settings)

    def lora_path(self) -> Path | None:
        """The LoRA's file, if there is one to fuse; `ModelError` where it is not there."""
        if self.params.lora is None:
            return None
        folder = Place.parse(self.params.lora, self.folder).at_hand()
        named = self.params.lora_file
        files = [folder / named] if named else sorted(folder.glob("*.safetensors"))
        if len(files) != 1 or not files[0].is_file() or files[0].suffix != ".safetensors":
            found = ", ".join(file.name for file in sorted(folder.glob("*.safetensors"))) or "none"
            raise ModelError(
                f"{folder}: `lora_file` should name one safetensors file in it (there: {found})"
            )
        return files[0]

    @property
    def _pipeline(self) -> Place:
        return Place.parse(self.params.path, self.folder, revision=self.params.revision)

    def _replaced(self) -> dict[str, Place]:
        return {
            name: Place.parse(text, self.folder) for name, text in self.params.components.items()
        }

    def _wanted(self) -> list[tuple[Place, Wanted]]:
        listed = [(self._pipeline, wanted(self.params.variant))]
        single = Wanted(("*.json", "*.safetensors"), ("*/*",), needs="*.safetensors")
        listed += [(place, single) for place in self._replaced().values()]
        if self.params.lora is not None:
            file = self.params.lora_file or "*.safetensors"
            listed.append((Place.parse(self.params.lora, self.folder), Wanted((file,), needs=file)))
        return listed

    def _complete(self, place: Place) -> bool:
        """Whether a repository is in the cache with all that is needed; other programs fetch parts."""
        folder = place.found()
        if folder is None:
            return False
        if place != self._pipeline:
            return any(folder.glob(self.params.lora_file or "*.safetensors"))
        try:
            # a component that another repository stands in for need not be here
            here = dict.fromkeys(self.params.components, folder)
            pipeline = PipelineFiles(folder, self.params.variant, here)
            for name in pipeline.components.keys() - here.keys():
                pipeline.weight_files(name)
        except ModelError:
            return False
        return True
