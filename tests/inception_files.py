"""A file in pytorch-fid's layout with seeded random weights: every peer loads it, nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from kdbench.models.encoders.inception_network import InceptionNetwork
from kdbench.models.encoders.inception_weights import NAMES


def write_random_inception(path: Path, seed: int = 0) -> Path:
    """Weights of the size that keeps signals alive through 94 convolutions, and statistics to fold in."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0, around: float = 0.0) -> torch.Tensor:
        return around + scale * torch.randn(shape, generator=random)

    tensors = {}
    for conv, (name, _) in zip(InceptionNetwork().convolutions(), NAMES, strict=True):
        out, into, *size = conv.weight.shape
        tensors[f"{name}.conv.weight"] = normal(
            out, into, *size, scale=(2 / (into * size[0] * size[1])) ** 0.5
        )
        tensors[f"{name}.bn.weight"] = normal(out, scale=0.1, around=1.0)
        tensors[f"{name}.bn.bias"] = normal(out, scale=0.2)
        tensors[f"{name}.bn.running_mean"] = normal(out, scale=0.1)
        tensors[f"{name}.bn.running_var"] = normal(out, scale=0.1, around=1.0).abs()
        tensors[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    tensors["fc.weight"], tensors["fc.bias"] = normal(1008, 2048, scale=0.02), normal(1008)
    torch.save(tensors, path)
    return path


SIZES = ((512, 512), (256, 256), (384, 640), (480, 320), (299, 299), (701, 513))


def write_pictures(folder: Path, count: int, seed: int) -> Path:
    """PNGs of mixed, real sizes: smooth colours, edges and noise, so that filters differ on them."""
    from PIL import Image

    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for index in range(count):
        height, width = SIZES[index % len(SIZES)]
        y, x = np.mgrid[0:height, 0:width] / 100
        waves = random.uniform(0.3, 9, (3, 2))
        smooth = np.stack([np.sin(a * x + b * y + seed) for a, b in waves], axis=-1)
        bars = np.sign(np.sin(random.uniform(20, 120) * x))[..., None] * random.uniform(0, 0.6)
        noise = random.normal(0, 0.2, (height, width, 3))
        levels = np.clip(127.5 + 90 * (smooth + bars + noise), 0, 255).astype(np.uint8)
        Image.fromarray(levels).save(folder / f"{index:03}.png", compress_level=1)
    return folder
