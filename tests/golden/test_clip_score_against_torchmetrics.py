"""CLIPScore of the torchmetrics dialect equals torchmetrics' on the same small model, images and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_clip
import torch

from kdbench.metrics.clip_score import SCALES, torchmetrics_clip_score
from kdbench.models.encoders.text_image import HuggingFaceClip
from kdbench.models.judges.cosine import CosineJudge
from kdbench.models.resizing import Resize, resized

SMALL = Resize(32, "bicubic-uint8", "short-side")
LONG = "zebra " * 50 + "a small cat on a " + "very " * 40 + "red sofa"
TEXTS = ["a photo of a cat", "Two dogs", LONG, "", "a photo of a cat"]


class Unwrapped:
    """torchmetrics 1.9 expects tensors from transformers, whose version 5 returns an output object."""

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config

    def to(self, device: Any) -> Unwrapped:
        return self

    def get_image_features(self, pixels: torch.Tensor) -> Any:
        found = self.model.get_image_features(pixels)
        return getattr(found, "pooler_output", found)

    def get_text_features(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        found = self.model.get_text_features(ids, mask)
        return getattr(found, "pooler_output", found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.save_hugging_face(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def peer(folder: Path) -> Any:
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(folder).eval()
    processor = CLIPProcessor.from_pretrained(folder)

    def score(images: list[np.ndarray], texts: list[str]) -> float:
        from torchmetrics.functional.multimodal import clip_score

        tensors = [torch.from_numpy(image).permute(2, 0, 1) for image in images]
        with torch.no_grad(), pytest.warns(UserWarning, match="Encountered caption longer"):
            return float(clip_score(tensors, texts, lambda: (Unwrapped(model), processor)))

    return score


def images(size: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    smooth = random.integers(0, 256, (len(TEXTS), 4, 4, 3), dtype=np.uint8)
    from PIL import Image

    return [
        np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in smooth
    ]


def ours(folder: Path, cut: Any) -> HuggingFaceClip:
    return HuggingFaceClip(folder, "tiny", "0", cut=cut, resize=SMALL)


def test_the_score_is_torchmetrics_at_the_networks_own_size(folder: Path, peer: Any) -> None:
    pictures = images((32, 32))
    encoder = ours(folder, "bare")
    features = encoder.encode(resized(pictures, SMALL)), encoder.encode_text(TEXTS)
    score = torchmetrics_clip_score(*(part.numpy() for part in features))
    assert score == pytest.approx(peer(pictures, TEXTS), abs=1e-4)
    each = CosineJudge(encoder, SCALES["torchmetrics"]).scores(resized(pictures, SMALL), TEXTS)
    assert max(np.mean(each), 0.0) == pytest.approx(score, abs=1e-4)


def test_larger_images_agree_to_the_rounding_of_two_resizers(folder: Path, peer: Any) -> None:
    pictures = images((75, 50), seed=1)
    encoder = ours(folder, "bare")
    found = CosineJudge(encoder, SCALES["torchmetrics"]).scores(resized(pictures, SMALL), TEXTS)
    assert max(np.mean(found), 0.0) == pytest.approx(peer(pictures, TEXTS), abs=0.3)


def test_a_long_text_keeps_its_end_in_one_dialect_and_loses_it_in_the_other(folder: Path) -> None:
    kept, lost = (ours(folder, cut).encode_text(TEXTS) for cut in ("end of text kept", "bare"))
    same = [
        bool(torch.allclose(one, other, atol=1e-5)) for one, other in zip(kept, lost, strict=True)
    ]
    assert same == [True, True, False, True, True]
