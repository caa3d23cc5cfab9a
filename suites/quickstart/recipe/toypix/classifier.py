"""The digit classifier: its features measure distances, its answers whether a digit is the one asked for."""

from __future__ import annotations

import math

import torch
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from .digits import CLASSES, Digits
from .training import Progress

INPUT = 32
"""Images are enlarged to this many pixels, since the network begins by shrinking them to a quarter."""


def new_processor() -> ViTImageProcessor:
    """Return what turns 8-bit images into the classifier's input."""
    return ViTImageProcessor(
        size={"height": INPUT, "width": INPUT},
        resample=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def new_classifier(seed: int) -> ResNetForImageClassification:
    """Return a freshly initialized residual network whose penultimate layer has 48 features."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ResNetForImageClassification(
            ResNetConfig(
                num_channels=3,
                embedding_size=16,
                hidden_sizes=[32, 48],
                depths=[2, 1],
                layer_type="basic",
                num_labels=CLASSES,
            )
        )


def train_classifier(
    model: ResNetForImageClassification, digits: Digits, steps: int, seed: int, rows: int = 64
) -> Progress:
    """Train in place on shifted and slightly noisy images."""
    random = torch.Generator().manual_seed(seed)
    images, labels = digits.pixels(), digits.classes()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    progress = Progress("classifier", steps)
    model.train()
    for _ in range(steps):
        picked = torch.randint(len(images), (rows,), generator=random)
        large = _shifted(_enlarged(images[picked]), random)
        large = large + 0.1 * torch.randn(large.shape, generator=random)
        logits = model(large.expand(-1, 3, -1, -1)).logits
        loss = functional.cross_entropy(logits, labels[picked], label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        scheduler.step()
        progress.add(loss.item())
    model.eval()
    return progress


def _enlarged(images: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(images, size=(INPUT, INPUT), mode="bilinear")


def _shifted(images: torch.Tensor, random: torch.Generator, most: int = 3) -> torch.Tensor:
    """Move each image by up to ``most`` of the enlarged pixels in both directions; black comes in."""
    padded = functional.pad(images, (most,) * 4, value=-1.0)
    moves = torch.randint(0, 2 * most + 1, (len(images), 2), generator=random)
    side = images.shape[-1]
    return torch.stack(
        [
            image[:, down : down + side, right : right + side]
            for image, (down, right) in zip(padded, moves.tolist(), strict=True)
        ]
    )


@torch.no_grad()
def features_and_answers(
    model: ResNetForImageClassification, pixels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the 48 penultimate features and the digit recognized, for pixels in -1..1."""
    large = _enlarged(pixels).expand(-1, 3, -1, -1)
    pooled = model.resnet(large).pooler_output.flatten(1)
    return pooled, model.classifier(pooled).argmax(dim=-1)
