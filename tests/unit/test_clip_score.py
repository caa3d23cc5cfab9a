"""CLIPScore: from features to scores, and the encoders behind them on small models of the real classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_clip
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kdbench.errors import ModelError
from kdbench.metrics.clip_score import SCALES, clip_scores, cosines, torchmetrics_clip_score
from kdbench.models.encoders import text_image
from kdbench.models.encoders.text_image import HuggingFaceClip, OpenClip, photo_depicts

PIXELS = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 255


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.save_hugging_face(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def open_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.save_open_clip(tmp_path_factory.mktemp("open-clip"))


def test_every_scale_is_the_papers() -> None:
    images, texts = np.eye(2, 3), np.array([[1.0, 1.0, 0.0], [0.0, -2.0, 0.0]])
    root = 2**-0.5
    assert clip_scores(images, texts, SCALES["hessel"]) == pytest.approx([2.5 * root, 0])
    assert clip_scores(images, texts, SCALES["torchmetrics"]) == pytest.approx([100 * root, -100])
    assert clip_scores(images, texts, SCALES["dmd2"]) == pytest.approx([root, -1])
    assert torchmetrics_clip_score(images, texts) == 0.0  # the mean is clamped, not each pair
    assert torchmetrics_clip_score(images[:1], texts[:1]) == pytest.approx(100 * root)


vectors = arrays.arrays(np.float64, (3, 4), elements=st.floats(0.1, 10))


@given(vectors, vectors, st.floats(0.01, 100))
def test_a_cosine_knows_no_length_and_no_order(
    one: np.ndarray, other: np.ndarray, by: float
) -> None:
    found = cosines(one, other)
    assert cosines(other * by, one) == pytest.approx(found)
    assert (np.abs(found) <= 1 + 1e-12).all()


@pytest.mark.parametrize("texts", [np.ones((2, 3)), np.zeros((1, 3)), np.full((1, 3), np.nan)])
def test_features_without_a_partner_or_a_direction_are_refused(texts: np.ndarray) -> None:
    with pytest.raises(ValueError):
        cosines(np.ones((1, 3)), texts)


def test_openais_weights_run_with_quick_gelu_and_score_otherwise_without(
    clip: Path, tmp_path: Path
) -> None:
    from transformers.activations import QuickGELUActivation

    right = HuggingFaceClip(clip, "tiny", "0")
    assert any(isinstance(module, QuickGELUActivation) for module in right.model.modules())
    wrong = tmp_path / "gelu"
    shutil.copytree(clip, wrong)
    config = (wrong / "config.json").read_text().replace('"quick_gelu"', '"gelu"')
    (wrong / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"activation is gelu, but .* trained with quick_gelu"):
        HuggingFaceClip(wrong, "tiny", "0")
    other = HuggingFaceClip(wrong, "tiny", "0", activation="gelu")
    assert torch.equal(other.model.text_projection.weight, right.model.text_projection.weight)
    texts = ["a cat", "a dog", "two birds"]
    scores = [
        clip_scores(one.encode(PIXELS), one.encode_text(texts), SCALES["torchmetrics"])
        for one in (right, other)
    ]
    assert np.abs(scores[0] - scores[1]).max() > 0.02


def test_open_clip_takes_the_activation_that_is_asked_for(open_weights: Path) -> None:
    plain = OpenClip(open_weights, "tiny-open-clip", "tiny", "0")
    quick = OpenClip(open_weights, "tiny-open-clip", "tiny", "0", quick_gelu=True)
    assert text_image.activations(plain.model) == {"gelu"}
    assert text_image.activations(quick.model) == {"quick_gelu"}
    assert not torch.allclose(plain.encode(PIXELS), quick.encode(PIXELS), atol=1e-3)


def test_a_batch_changes_nothing(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = HuggingFaceClip(clip, "tiny", "0")
    texts = ["a cat", "a much longer text than the other one", "a cat"]
    together = encoder.encode(PIXELS), encoder.encode_text(texts)
    monkeypatch.setattr(text_image, "BATCH", 1)
    apart = encoder.encode(PIXELS), encoder.encode_text(texts)
    for one, other in zip(together, apart, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert together[0].shape == (3, encoder.dimension) and together[0].dtype == torch.float32


def test_the_prefix_is_spliced_in_as_tokens_and_the_last_place_ends_the_text() -> None:
    from open_clip import tokenize

    short, long, full = photo_depicts(["a cat", "word " * 100, "word " * 72]).tolist()
    plain = tokenize(["a photo depicts a cat"])[0].tolist()
    assert short == plain  # where nothing is cut, splicing and writing agree
    prefix = plain[1:4]
    assert long[1:4] == prefix and long[-1] == text_image.END_OF_TEXT
    assert long.count(text_image.END_OF_TEXT) == 1
    assert full[-1] == text_image.END_OF_TEXT and len(full) == text_image.CONTEXT


def test_weights_of_another_network_are_refused(open_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no CLIP of Hugging Face can be read"):
        HuggingFaceClip(tmp_path, "tiny", "0")
    tiny_clip.save_open_clip(tmp_path / "wide", "tiny-but-wider", width=48)
    with pytest.raises(ModelError, match="not the weights of tiny-but-wider"):
        OpenClip(open_weights, "tiny-but-wider", "tiny", "0")
