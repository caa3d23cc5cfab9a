"""A diffusers pipeline that answers requests: noise by each image's seed, evaluations counted."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.batches import BatchLimits, in_batches
from kdbench.models.images import Image, ImageRequest, checked, to_uint8
from kdbench.models.loading import torch_device
from kdbench.models.pipeline_files import OWN_PIPELINE, UNUSED, PipelineFiles

if TYPE_CHECKING:
    from kdbench.models.diffusers import DiffusersParams
    from kdbench.models.timing.image_run import ImageRun

DENOISERS = ("unet", "transformer", "transformer_2", "prior", "decoder")
"""Names that diffusers gives to the networks that are evaluated at every step."""


SMALL = 20_000_000
"""Parameters of networks whose images are made by the dozen."""


class ImagePipeline:
    """Answers `generate_images`; one generator an image, on the CPU, so that no device or batch matters."""

    def __init__(
        self,
        pipeline: Any,
        arguments: dict[str, Any],
        device: str,
        batch_size: int | None,
        whose: str,
    ) -> None:
        self.pipeline = pipeline
        self.whose = whose
        self.steps: int | None = None
        self._arguments = arguments
        rows = batch_size or _rows(pipeline, device)
        self._limits = BatchLimits(rows, 1 << 62, 1 << 62)
        self._asks = _asks(pipeline)

    def generate_images(self, requests: Sequence[ImageRequest]) -> list[Image]:
        """One image a request. Raises `ModelError` for requests that the pipeline has no input for."""
        self._check(requests)
        made = in_batches(
            requests, lambda batch: self._limits.fit(len(batch), 1), self._limits, self._batch
        )
        return checked(made, requests, self.whose)

    def _batch(self, requests: Sequence[ImageRequest]) -> list[Image]:
        import torch

        generators = [torch.Generator("cpu").manual_seed(one.seed) for one in requests]
        condition: dict[str, Any] = {}
        if self._asks == "prompt":
            condition["prompt"] = [one.prompt for one in requests]
        elif self._asks == "class_labels":
            condition["class_labels"] = [one.label for one in requests]
        if "batch_size" in _parameters(self.pipeline) and self._asks != "prompt":
            condition["batch_size"] = len(requests)
        try:
            with torch.inference_mode(), counted(self.pipeline) as rows:
                found = self.pipeline(
                    **condition, generator=generators, output_type="np", **self._arguments
                ).images
        except torch.cuda.OutOfMemoryError:
            raise
        except (ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{self.whose}: the pipeline can't make these images ({type(error).__name__}: "
                f"{reason[:400]})"
            ) from error
        if rows:
            self.steps = round(sum(rows) / len(requests))
        return [to_uint8(np.asarray(image)) for image in found]

    @contextmanager
    def time_images(self, batch: int, prompt: str, seed: int) -> Iterator[ImageRun]:
        """A run of `batch` images at once, to be called and timed while the context is open.

        They are of `prompt`, or of all classes in turn, as the pipeline takes them.
        """
        from kdbench.models.timing.image_run import ImageRun, requests_for

        requests = requests_for(self._asks, self.pipeline, batch, prompt, seed)
        self._check(requests)
        yield ImageRun(self, requests, self._batch)

    def _check(self, requests: Sequence[ImageRequest]) -> None:
        kind = type(self.pipeline).__name__
        if self._asks == "class_labels" and any(one.label is None for one in requests):
            raise ModelError(f"{self.whose}: a {kind} makes images of labels; the task gives none")
        if self._asks != "class_labels" and any(one.label is not None for one in requests):
            raise ModelError(f"{self.whose}: a {kind} takes no labels; the task gives some")
        if self._asks != "prompt" and any(one.prompt for one in requests):
            raise ModelError(f"{self.whose}: a {kind} takes no prompts; the task gives some")

    def close(self) -> None:
        """Let go of the weights."""
        self.pipeline = None


@contextmanager
def counted(pipeline: Any) -> Iterator[list[int]]:
    """Rows that each evaluation of a denoiser took in; guidance shows as twice as many, or as twice."""
    import torch

    rows: list[int] = []

    def count(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        tensors = [one for one in (*inputs, *named.values()) if isinstance(one, torch.Tensor)]
        rows.append(max((one.shape[0] for one in tensors if one.ndim > 2), default=0))

    networks = [getattr(pipeline, name, None) for name in DENOISERS]
    handles = [
        network.register_forward_pre_hook(count, with_kwargs=True)
        for network in networks
        if isinstance(network, torch.nn.Module)
    ]
    try:
        yield rows
    finally:
        for handle in handles:
            handle.remove()


def load_image_pipeline(
    files: PipelineFiles, lora: Path | None, params: DiffusersParams, settings: LoadSettings
) -> ImagePipeline:
    """The pipeline on its device, with its scheduler, LoRA and arguments as the suite wants them.

    Raises `ModelError` for files that don't fit together and for arguments that the pipeline does not take.
    """
    device = torch_device(settings.device)
    pipeline = _loaded(files, settings)
    if params.scheduler is not None or params.scheduler_options:
        pipeline.scheduler = _scheduler(pipeline.scheduler, params, files.folder)
    if lora is not None:
        _fuse(pipeline, lora, params.lora_scale)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    arguments = _arguments(pipeline, params, files.folder)
    return ImagePipeline(pipeline, arguments, device, settings.batch_size, str(files.folder))


def _loaded(files: PipelineFiles, settings: LoadSettings) -> Any:
    import diffusers
    import torch
    from safetensors import SafetensorError

    name = files.class_name
    kind: Any = getattr(diffusers, name, None)
    if name == OWN_PIPELINE:
        from kdbench.models.class_conditional import ClassConditionalPipeline

        kind = ClassConditionalPipeline
    if kind is None:
        raise ModelError(
            f"{files.folder}: diffusers {diffusers.__version__} has no pipeline {name}; a newer "
            "one may"
        )
    dtype = None if settings.dtype == "auto" else getattr(torch, settings.dtype)
    # a component that is listed and not wanted is None, so that its files need not be there
    parts: dict[str, Any] = dict.fromkeys(UNUSED & files.index.keys())
    if "requires_safety_checker" in files.index:
        parts["requires_safety_checker"] = False
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    if dtype is not None:
        options["torch_dtype"] = dtype
    try:
        for component, folder in files.replaced.items():
            library, class_name = files.components[component]
            made = getattr(__import__(library), class_name)
            parts[component] = made.from_pretrained(folder, **options)
        return kind.from_pretrained(files.folder, variant=files.variant, **parts, **options)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError,
            SafetensorError) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{files.folder}: diffusers can't load the pipeline ({type(error).__name__}: "
            f"{reason[:400]}); check that its files are complete and belong together"
        ) from error


def _scheduler(own: Any, params: DiffusersParams, folder: Path) -> Any:
    import diffusers

    name = params.scheduler or type(own).__name__
    kind = getattr(diffusers, name, None)
    if kind is None or not hasattr(kind, "set_timesteps"):
        from kdbench.errors import did_you_mean

        known = [one for one in dir(diffusers) if one.endswith("Scheduler")]
        raise ModelError(f"diffusers has no scheduler named {name!r}{did_you_mean(name, known)}")
    unknown = sorted(set(params.scheduler_options) - set(inspect.signature(kind).parameters))
    if unknown:
        raise ModelError(f"{folder}: a {name} has no option {unknown[0]!r}")
    return kind.from_config(own.config, **params.scheduler_options)


def _fuse(pipeline: Any, lora: Path, scale: float) -> None:
    try:
        pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
        pipeline.fuse_lora(lora_scale=scale)
        pipeline.unload_lora_weights()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{lora}: this LoRA does not fit a {type(pipeline).__name__} ({type(error).__name__}: "
            f"{reason[:400]})"
        ) from error


def _arguments(pipeline: Any, params: DiffusersParams, folder: Path) -> dict[str, Any]:
    """What every call of the pipeline is given besides its conditions."""
    asked: dict[str, Any] = {
        "num_inference_steps": params.steps if params.timesteps is None else None,
        "timesteps": params.timesteps,
        "guidance_scale": params.guidance,
    }
    found = {name: value for name, value in asked.items() if value is not None}
    if params.timesteps is not None and "num_inference_steps" in _parameters(pipeline):
        found["num_inference_steps"] = None  # some schedulers refuse both
    found |= params.options
    refused = sorted(set(found) - set(_parameters(pipeline)))
    taken = sorted({"prompt", "class_labels", "generator", "latents", "output_type"} & set(found))
    if refused or taken:
        raise ModelError(
            f"{folder}: a {type(pipeline).__name__} takes no {refused[0]}"
            if refused
            else f"{folder}: {taken[0]} is the task's to give; take it out of `options`"
        )
    return found


def _rows(pipeline: Any, device: str) -> int:
    """Images at a time where the suite does not say: many of small networks, few of large ones."""
    networks = [getattr(pipeline, name, None) for name in DENOISERS]
    size = sum(p.numel() for one in networks if one is not None for p in one.parameters())
    if size < SMALL:
        return 64
    return 1 if device == "cpu" else 8


def _asks(pipeline: Any) -> str:
    """What images are made of: "prompt", "class_labels" (which may be optional) or "" for nothing."""
    parameters = _parameters(pipeline)
    if "prompt" in parameters:
        return "prompt"
    if "class_labels" in parameters:
        unet = getattr(pipeline, "unet", None)
        labelled = unet is None or getattr(unet.config, "num_class_embeds", 1) is not None
        return "class_labels" if labelled else ""
    return ""


def _parameters(pipeline: Any) -> Sequence[str]:
    return tuple(inspect.signature(type(pipeline).__call__).parameters)
