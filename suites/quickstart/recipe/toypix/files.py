"""Models on disk: the folders of a diffusers pipeline, and beside them what their training did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from diffusers import UNet2DModel
from transformers import ResNetForImageClassification

from kdbench.models.class_conditional import ClassConditionalPipeline

from .classifier import new_processor
from .models import Use, new_scheduler

RECORD = "training.json"


def save_generator(model: UNet2DModel, use: Use, folder: Path, record: dict[str, Any]) -> None:
    """Save a denoiser as a pipeline that knows how it is meant to be used."""
    staging = _staging(folder)
    ClassConditionalPipeline(
        model,
        new_scheduler(),
        num_inference_steps=use.steps,
        null_label=use.null_label,
    ).save_pretrained(staging)
    _finish(staging, folder, {"parameters": model.num_parameters(), **record})


def save_classifier(
    model: ResNetForImageClassification, folder: Path, record: dict[str, Any]
) -> None:
    """Save the classifier with the processor that prepares images for it."""
    staging = _staging(folder)
    model.save_pretrained(staging)
    new_processor().save_pretrained(staging)
    _finish(staging, folder, {"parameters": model.num_parameters(), **record})


def load_generator(folder: Path) -> ClassConditionalPipeline:
    """Read a generator as its users do."""
    pipeline = ClassConditionalPipeline.from_pretrained(folder, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_denoiser(folder: Path) -> UNet2DModel:
    """Read a generator's network alone."""
    return UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True)


def load_classifier(folder: Path) -> ResNetForImageClassification:
    """Read the classifier."""
    return ResNetForImageClassification.from_pretrained(folder, use_safetensors=True).eval()


def write_record(folder: Path, more: dict[str, Any]) -> None:
    """Add to what is written down about a model's training."""
    path = folder / RECORD
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}, indent=2) + "\n")


def _staging(folder: Path) -> Path:
    staging = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    return staging


def _finish(staging: Path, folder: Path, record: dict[str, Any]) -> None:
    """Put a finished folder where the old one was."""
    (staging / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    for file in staging.rglob("*.safetensors"):
        file.chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    staging.rename(folder)
