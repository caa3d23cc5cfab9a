"""Image generators, classifiers and sets of images, all small and random, as their libraries save them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def save_digit_generator(
    folder: Path, *, seed: int = 0, steps: int = 3, guidance: float = 1.0, classes: int = 10
) -> Path:
    """A class-conditional pipeline of 8 x 8 grey images; one more class stands for "any"."""
    import torch
    from diffusers import DDIMScheduler, UNet2DModel

    from kdbench.models.class_conditional import ClassConditionalPipeline

    torch.manual_seed(seed)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1,
        block_out_channels=(8, 16), down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"), norm_num_groups=4, num_class_embeds=classes + 1,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2", clip_sample=False,
        prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True,
    )  # fmt: skip
    ClassConditionalPipeline(
        unet, scheduler, num_inference_steps=steps, guidance_scale=guidance, null_label=classes
    ).save_pretrained(folder)
    return folder


def save_text_to_image(folder: Path, *, seed: int = 0) -> Path:
    """A Stable Diffusion of a few thousand weights: text tower, autoencoder and network."""
    import torch
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(seed)
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    source = folder.parent / f"{folder.name}-tokenizer"
    source.mkdir(parents=True, exist_ok=True)
    (source / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (source / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(
        str(source / "vocab.json"), str(source / "merges.txt"), model_max_length=16
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=16, bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1, pad_token_id=len(words) - 1, projection_dim=16,
        )
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=4, in_channels=4, out_channels=4, layers_per_block=1,
        block_out_channels=(8, 16), norm_num_groups=4, cross_attention_dim=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=2,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4,
        sample_size=8,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_classifier(folder: Path, *, seed: int = 0, width: int = 24) -> Path:
    """A residual network of ten classes with random weights, for its features."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[width], depths=[1], layer_type="basic", num_labels=10
    )
    ResNetForImageClassification(config).eval().save_pretrained(folder)
    prepared = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 32}, "resample": 2,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return folder


def digits(count: int, *, start: int = 0) -> tuple[list[np.ndarray], list[int]]:
    """scikit-learn's handwritten digits as RGB images of 8 x 8, and what they show."""
    from sklearn.datasets import load_digits

    data = load_digits()
    grey = np.round(data.images[start : start + count] * (255 / 16)).astype(np.uint8)
    return [one[..., None].repeat(3, axis=-1) for one in grey], data.target[
        start : start + count
    ].tolist()


def png(image: np.ndarray) -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(image).save(held, "PNG")
    return held.getvalue()


def write_images(
    place: Path, images: Sequence[np.ndarray], rows: Sequence[dict[str, Any]] | None = None
) -> Path:
    """A folder, or a zip where `place` ends so, with a metadata.jsonl where `rows` are given."""
    names = [f"{index:05d}.png" for index in range(len(images))]
    files = {name: png(image) for name, image in zip(names, images, strict=True)}
    if rows is not None:
        listed = [{"file_name": name, **row} for name, row in zip(names, rows, strict=True)]
        files["metadata.jsonl"] = "\n".join(map(json.dumps, listed)).encode()
    if place.suffix == ".zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return place
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    return place
