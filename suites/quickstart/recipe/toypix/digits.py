"""Handwritten digits that scikit-learn ships, split into images to learn from and images to measure by.

The 1,797 images are 8x8 pixels of 17 grey levels, written by 13 people (the test part of the UCI data set
"Optical Recognition of Handwritten Digits").
"""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

SIZE = 8
CLASSES = 10
HELD_OUT_PER_CLASS = 60
SPLIT_SEED = 1
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every member; with it, and without compression, the archive is the same byte for byte."""


@dataclass(frozen=True)
class Digits:
    """Grey images, uint8 of shape (images, 8, 8), and the digit that each one shows."""

    images: np.ndarray
    labels: np.ndarray

    def pixels(self) -> torch.Tensor:
        """Return the images as a diffusion model sees them: (images, 1, 8, 8) in -1..1."""
        return torch.from_numpy(self.images).float()[:, None] / 127.5 - 1

    def classes(self) -> torch.Tensor:
        """Return the labels, int64."""
        return torch.from_numpy(self.labels).long()


def split() -> tuple[Digits, Digits]:
    """Return the images to train on, and 60 of each digit that no training sees."""
    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    held_out: list[int] = []
    for digit in range(CLASSES):
        held_out += [int(index) for index in order if data.target[index] == digit][
            :HELD_OUT_PER_CLASS
        ]
    kept = np.setdiff1d(np.arange(len(images)), held_out)
    return tuple(Digits(images[rows], data.target[rows]) for rows in (kept, np.array(held_out)))  # type: ignore[return-value]


def write_reference(folder: Path) -> Path:
    """Write the held-out images as an archive of PNG files with a table of their labels."""
    _, held_out = split()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "digits.zip"
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file_name", "label"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for index, (image, label) in enumerate(zip(held_out.images, held_out.labels, strict=True)):
            name = f"{label}-{index % HELD_OUT_PER_CLASS:02d}.png"
            encoded = io.BytesIO()
            Image.fromarray(image).save(encoded, "PNG", compress_level=0)
            archive.writestr(zipfile.ZipInfo(name, EPOCH), encoded.getvalue())
            rows.writerow([name, label])
        archive.writestr(zipfile.ZipInfo("metadata.csv", EPOCH), table.getvalue())
    return path
