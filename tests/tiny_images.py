"""Image models of a few thousand random weights, in the layouts that people publish them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_classifier(folder: Path, *, seed: int = 0, width: int = 8, **more: Any) -> Path:
    """A ResNet of two stages for images of 32 x 32, with its preprocessing."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    torch.manual_seed(seed)
    config = ResNetConfig(
        num_channels=3, embedding_size=width, hidden_sizes=[width, 2 * width], depths=[1, 1],
        layer_type="basic", num_labels=3, id2label={0: "cat", 1: "dog", 2: "fox"}, **more,
    )  # fmt: skip
    ResNetForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_pixel_generator(
    folder: Path, *, steps: int, guidance: float = 1.0, seed: int = 0, width: int = 8
) -> Path:
    """A class-conditional generator of 8 x 8 pixels, with class 3 for "any"."""
    import torch
    from diffusers import DDIMScheduler, UNet2DModel

    from kdbench.models.class_conditional import ClassConditionalPipeline

    torch.manual_seed(seed)
    unet = UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(width, width),
        layers_per_block=1, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=4, num_class_embeds=4,
        attention_head_dim=4,
    )  # fmt: skip
    pipeline = ClassConditionalPipeline(unet, DDIMScheduler(), steps, guidance, null_label=3)
    pipeline.save_pretrained(folder)
    return folder


def save_latent_generator(folder: Path, *, seed: int = 0) -> Path:
    """Latent diffusion with a decoder (DiT): 4 x 4 latents, 8 x 8 pixels."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    torch.manual_seed(seed)
    transformer = DiTTransformer2DModel(
        sample_size=4, num_layers=1, patch_size=2, attention_head_dim=4, num_attention_heads=2,
        in_channels=4, out_channels=8, num_embeds_ada_norm=10, norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, sample_size=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    DiTPipeline(transformer, vae, DDIMScheduler()).save_pretrained(folder)
    return folder
