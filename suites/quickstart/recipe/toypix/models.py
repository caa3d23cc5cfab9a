"""The two denoisers and the noise schedule that all models share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, UNet2DModel

from .digits import CLASSES, SIZE

NO_LABEL = CLASSES
"""The class that stands for "any digit"; guidance compares with it."""


@dataclass(frozen=True)
class Shape:
    """The numbers that decide the size of a denoiser."""

    channels: tuple[int, int]


TEACHER = Shape(channels=(32, 64))
STUDENT = Shape(channels=(24, 32))


@dataclass(frozen=True)
class Use:
    """How a generator is sampled, and the label to compare with where guidance is asked for."""

    steps: int
    null_label: int | None = None


USES = {
    "teacher": Use(steps=32, null_label=NO_LABEL),
    "scratch": Use(steps=2),
    "progressive": Use(steps=2),
    "matching": Use(steps=1),
}


def new_denoiser(shape: Shape, seed: int) -> UNet2DModel:
    """Return a freshly initialized network; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet2DModel(
            sample_size=SIZE,
            in_channels=1,
            out_channels=1,
            layers_per_block=1,
            block_out_channels=shape.channels,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=16,
            norm_num_groups=8,
            num_class_embeds=CLASSES + 1,
        )


def new_scheduler() -> DDIMScheduler:
    """Return the cosine schedule that ends in pure noise, for networks that predict velocity.

    "Trailing" spacing starts every sampler at pure noise, also one of a single step; see Lin et al.,
    "Common Diffusion Noise Schedules and Sample Steps are Flawed", 2024.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        clip_sample=False,
    )
