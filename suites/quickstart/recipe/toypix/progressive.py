"""Progressive distillation: one step of the student does two of the teacher, and again, and again.

Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", ICLR 2022, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import UNet2DModel
from torch.nn import functional

from .diffusion import Diffusion, Velocity, velocity
from .training import Batch, Loss, Schedule, train


def halving(diffusion: Diffusion, teacher: Velocity, count: int) -> Loss:
    """Return the loss that teaches a sampler of ``count`` steps to land where twice as many land.

    The target is the clean image at which a single DDIM step has to aim to reach the same place; the
    error is that of the velocity, which weighs it by 1 + SNR (their section 4).
    """
    grid = diffusion.grid(2 * count)

    def loss(model: UNet2DModel, batch: Batch) -> torch.Tensor:
        index = 2 * batch.steps(0, count)
        steps, middle, later = grid[index], grid[index + 1], grid[index + 2]
        noisy = diffusion.noised(batch.images, steps, batch.noise)
        with torch.no_grad():
            half = diffusion.ddim(noisy, steps, middle, teacher(noisy, steps, batch.labels))
            there = diffusion.ddim(half, middle, later, teacher(half, middle, batch.labels))
        a, s = diffusion.levels(steps)
        later_a, later_s = diffusion.levels(later)
        clean = (there - later_s / s * noisy) / (later_a - later_s / s * a)
        found = model(noisy, steps, class_labels=batch.labels).sample
        return functional.mse_loss(found, (a * noisy - clean) / s)

    return loss


def distil(
    diffusion: Diffusion,
    teacher: Velocity,
    student: UNet2DModel,
    source: Iterator[Batch],
    counts: tuple[int, ...],
    schedule: Schedule,
) -> tuple[UNet2DModel, list[dict[str, float]]]:
    """Halve the steps as often as ``counts`` says; each stage is the next one's teacher."""
    stages = []
    for count in counts:
        loss = halving(diffusion, teacher, count)
        student, progress = train(f"{count} steps", student, source, loss, schedule)
        stages.append({"sampler_steps": count, **progress.record()})
        teacher = velocity(student)
        student = _trainable(student)
    return student.eval().requires_grad_(False), stages


def _trainable(model: UNet2DModel) -> UNet2DModel:
    """Return a copy that can be trained on while the model itself teaches."""
    twin = UNet2DModel.from_config(model.config)
    twin.load_state_dict(model.state_dict())
    return twin
