"""Distribution matching distillation: a one-step generator is pushed to what the teacher finds likelier.

Yin et al., "One-step Diffusion with Distribution Matching Distillation", CVPR 2024, equations 7 and 8. The
regression on the teacher's own noise-image pairs only prepares the generator; afterwards several updates of
the fake score for each of the generator take its place, as in "Improved Distribution Matching Distillation
for Fast Image Synthesis", NeurIPS 2024, section 4.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from diffusers import UNet2DModel
from torch.nn import functional

from .diffusion import Diffusion, Velocity, velocity
from .training import Batch, Learner, Progress, Schedule, denoising


@dataclass(frozen=True)
class Matching:
    """How the two networks of distribution matching take turns."""

    fake_updates: int = 2
    """Updates of the fake score for each update of the generator."""

    lowest: int = 20
    highest: int = 980
    """The generator is judged at noise levels in between."""

    pairs: int = 1536
    pair_steps: int = 16
    """Noises that the teacher answers beforehand, and the sampler steps that it takes for each."""


class Generator:
    """A network of one step, from pure noise to an image."""

    def __init__(self, diffusion: Diffusion, model: UNet2DModel) -> None:
        self.diffusion = diffusion
        self.model = model

    def __call__(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return images of the labels' digits."""
        steps = torch.full_like(labels, self.diffusion.steps - 1)
        return self.diffusion.clean(noise, steps, velocity(self.model)(noise, steps, labels))


def prepare(
    diffusion: Diffusion,
    teacher: Velocity,
    student: UNet2DModel,
    source: Iterator[Batch],
    matching: Matching,
    schedule: Schedule,
) -> tuple[UNet2DModel, Progress]:
    """Teach the student the teacher's images of some noises; untrained, it would make means of digits."""
    pairs = []
    for _ in range(matching.pairs // schedule.batch):
        batch = next(source)
        made = diffusion.sample(teacher, batch.noise, batch.labels, matching.pair_steps)
        pairs.append((batch.noise, batch.labels, made))
    random = next(source).random
    noises, labels, images = (torch.cat(part) for part in zip(*pairs, strict=True))
    learner, progress = Learner(student, schedule), Progress("pairs", schedule.steps)
    generator = Generator(diffusion, student)
    for _ in range(schedule.steps):
        picked = torch.randint(len(images), (schedule.batch,), generator=random)
        found = generator(noises[picked], labels[picked])
        progress.add(learner.step(functional.mse_loss(found, images[picked])))
    student.load_state_dict(learner.averaged.state_dict())
    return student, progress


def distil(
    diffusion: Diffusion,
    teacher: Velocity,
    fake: UNet2DModel,
    student: UNet2DModel,
    source: Iterator[Batch],
    matching: Matching,
    schedule: Schedule,
) -> tuple[UNet2DModel, Progress]:
    """Train a one-step generator; only labels and noise are taken from the source, no image.

    ``fake`` begins as some denoiser of digits and follows the distribution of the generator's images.
    """
    pushed = Learner(student, schedule)
    follower = Learner(fake, replace(schedule, steps=schedule.steps * matching.fake_updates))
    follow = denoising(diffusion, label_dropout=0.0)
    generator, progress = Generator(diffusion, student), Progress("matching", schedule.steps)
    for _ in range(schedule.steps):
        for _ in range(matching.fake_updates):
            batch = next(source)
            with torch.no_grad():
                images = generator(batch.noise, batch.labels)
            fresh = torch.randn(images.shape, generator=batch.random)
            follower.step(follow(fake, replace(batch, images=images, noise=fresh)))
        batch = next(source)
        images = generator(batch.noise, batch.labels)
        pull = _pull(diffusion, teacher, velocity(fake), images.detach(), batch, matching)
        progress.add(pushed.step(0.5 * functional.mse_loss(images, images.detach() + pull)))
    return pushed.averaged, progress


@torch.no_grad()
def _pull(
    diffusion: Diffusion,
    teacher: Velocity,
    fake: Velocity,
    images: torch.Tensor,
    batch: Batch,
    matching: Matching,
) -> torch.Tensor:
    """Return where to move the images: from the fake score's clean image to the teacher's.

    Divided by the teacher's mean distance from the image, so that every noise level pulls alike.
    """
    steps = batch.steps(matching.lowest, matching.highest)
    noise = torch.randn(images.shape, generator=batch.random)
    noisy = diffusion.noised(images, steps, noise)
    real = diffusion.clean(noisy, steps, teacher(noisy, steps, batch.labels))
    false = diffusion.clean(noisy, steps, fake(noisy, steps, batch.labels))
    scale = (images - real).abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    return (real - false) / scale
