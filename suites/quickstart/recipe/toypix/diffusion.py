"""Noising, and what a velocity says: x_t = a x_0 + s e, v = a e - s x_0, with a^2 + s^2 = 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from diffusers import DDIMScheduler, UNet2DModel

from .models import NO_LABEL

Velocity = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(noisy images, time steps, labels) to velocities."""


def velocity(model: UNet2DModel, guidance: float = 1.0) -> Velocity:
    """Return a model's velocity, with classifier-free guidance where ``guidance`` is not 1."""

    def plain(noisy: torch.Tensor, steps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return model(noisy, steps, class_labels=labels).sample

    def guided(noisy: torch.Tensor, steps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        both = torch.cat([labels, torch.full_like(labels, NO_LABEL)])
        with_label, without = plain(noisy.repeat(2, 1, 1, 1), steps.repeat(2), both).chunk(2)
        return without + guidance * (with_label - without)

    return plain if guidance == 1.0 else guided


@dataclass(frozen=True)
class Diffusion:
    """The schedule as arithmetic; step -1 is the clean image."""

    signal: torch.Tensor  # a, (steps + 1,), last entry for step -1
    noise: torch.Tensor  # s, likewise

    @classmethod
    def of(cls, scheduler: DDIMScheduler) -> Diffusion:
        """Read the levels of a scheduler."""
        kept = torch.cat([scheduler.alphas_cumprod, torch.ones(1)])
        return cls(kept.sqrt(), (1 - kept).sqrt())

    @property
    def steps(self) -> int:
        """Return the number of noise levels."""
        return len(self.signal) - 1

    def levels(self, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a and s of (images,) steps, shaped to multiply images."""
        return self.signal[steps].view(-1, 1, 1, 1), self.noise[steps].view(-1, 1, 1, 1)

    def noised(self, clean: torch.Tensor, steps: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return the images at the given steps."""
        a, s = self.levels(steps)
        return a * clean + s * noise

    def target(self, clean: torch.Tensor, steps: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Return the velocity that leads from these images to this noise."""
        a, s = self.levels(steps)
        return a * noise - s * clean

    def clean(
        self, noisy: torch.Tensor, steps: torch.Tensor, velocities: torch.Tensor
    ) -> torch.Tensor:
        """Return the clean images that the velocities point at."""
        a, s = self.levels(steps)
        return a * noisy - s * velocities

    def ddim(
        self,
        noisy: torch.Tensor,
        steps: torch.Tensor,
        to: torch.Tensor,
        velocities: torch.Tensor,
    ) -> torch.Tensor:
        """Return the images one deterministic step later (Song et al., DDIM, 2021, equation 12)."""
        a, s = self.levels(steps)
        later_a, later_s = self.levels(to)
        return later_a * self.clean(noisy, steps, velocities) + later_s * (
            a * velocities + s * noisy
        )

    def grid(self, count: int) -> torch.Tensor:
        """Return the steps of a sampler of ``count`` steps, from pure noise to -1."""
        return (self.steps - torch.arange(count + 1) * self.steps / count).round().long() - 1

    @torch.no_grad()
    def sample(
        self, model: Velocity, noise: torch.Tensor, labels: torch.Tensor, count: int
    ) -> torch.Tensor:
        """Return images made from noise in ``count`` steps."""
        images, grid = noise, self.grid(count)
        for step, to in pairwise(grid):
            at = step.expand(len(images))
            images = self.ddim(images, at, to.expand(len(images)), model(images, at, labels))
        return images
