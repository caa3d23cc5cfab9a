"""A contact sheet: every model's answer to the same noise, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

GAP = 2
ENLARGED = 4


def write_sheet(images: dict[str, np.ndarray], path: Path) -> None:
    """Write a row of images for each model, four times their size; each is uint8 (images, side, side)."""
    count, side = next(iter(images.values())).shape[:2]
    cell = side + GAP
    sheet = np.full((len(images) * cell - GAP, count * cell - GAP), 128, np.uint8)
    for row, made in enumerate(images.values()):
        for column, image in enumerate(made):
            top, left = row * cell, column * cell
            sheet[top : top + side, left : left + side] = image
    Image.fromarray(sheet.repeat(ENLARGED, 0).repeat(ENLARGED, 1)).save(path, optimize=True)
