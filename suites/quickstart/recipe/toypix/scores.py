"""A quick look at how good the generators are, without the harness."""

from __future__ import annotations

import numpy as np
import torch
from transformers import ResNetForImageClassification

from kdbench.models.class_conditional import ClassConditionalPipeline

from .classifier import features_and_answers
from .digits import CLASSES, Digits


def generated(pipeline: ClassConditionalPipeline, per_class: int, rows: int = 100) -> Digits:
    """Return ``per_class`` images of each digit, in the order of the digits; image i has seed i."""
    labels = np.arange(CLASSES).repeat(per_class)
    parts = []
    for first in range(0, len(labels), rows):
        asked = labels[first : first + rows].tolist()
        seeds = range(first, first + len(asked))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        found = pipeline(asked, generator=generators).images
        parts.append((found[..., 0] * 255).round().astype(np.uint8))
    return Digits(np.concatenate(parts), labels)


def quick_look(
    made: Digits, teachers: Digits | None, classifier: ResNetForImageClassification
) -> dict[str, float]:
    """Return what can be seen without a reference.

    ``as_asked``: share in which the classifier sees the digit asked for. ``spread``: mean distance between
    the features of two images of one digit. ``psnr``: mean over images, in dB, from the teacher's image of
    the same noise, for its students.
    """
    features, found = features_and_answers(classifier, made.pixels())
    labels = made.classes()
    spreads = [torch.pdist(features[labels == digit]).mean() for digit in range(CLASSES)]
    figures = {
        "as_asked": (found == labels).float().mean().item(),
        "spread": torch.stack(spreads).mean().item(),
    }
    if teachers is not None:
        errors = (made.images.astype(float) - teachers.images) ** 2 + 1e-9
        figures["psnr"] = float(np.mean(10 * np.log10(255**2 / errors.mean(axis=(1, 2)))))
    return {name: round(value, 4) for name, value in figures.items()}
