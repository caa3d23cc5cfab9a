"""Each resizing dialect is its tool's, whatever sizes come together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbench.errors import ModelError
from kdbench.models.resizing import DIALECTS, Resize, dialect, resized

torch = pytest.importorskip("torch")

SIZES = [(512, 384), (97, 301), (299, 299), (640, 641), (32, 32)]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def ours(image: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(resized([image], dialect(name))[0].permute(1, 2, 0))


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """As close as weights of 32 and of 64 bits are on pure noise, in grey levels of 255."""
    apart = np.abs(found - expected)
    assert apart.max() < 1e-2 and apart.mean() < 5e-4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "library", "kind"),
    [("clean", "PIL", "bicubic"), ("legacy_pytorch", "PyTorch", "bilinear")],
)
def test_clean_fids_resizers(size: tuple[int, int], name: str, library: str, kind: str) -> None:
    from cleanfid.resize import make_resizer

    image = picture(*size)
    theirs = make_resizer(library, False, kind, (299, 299))(image)
    assert_close(ours(image, name), theirs)


@pytest.mark.parametrize("size", SIZES)
def test_tensorflow_1_is_torch_fidelitys(size: tuple[int, int]) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as peer,
    )

    image = picture(*size)
    batch = torch.tensor(image).permute(2, 0, 1)[None].float()
    theirs = peer(batch, size=(299, 299), align_corners=False)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours(image, "legacy_tensorflow") - theirs).max() < 1e-3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "side"), [("clip", 224), ("clip-336", 336)])
def test_clip_is_open_clips_transform(size: tuple[int, int], name: str, side: int) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    image = picture(*size)
    plain = PreprocessCfg(size=side, mean=(0, 0, 0), std=(1, 1, 1))
    theirs: Any = image_transform_v2(plain, is_train=False)(Image.fromarray(image))
    np.testing.assert_allclose(ours(image, name), 255 * theirs.permute(1, 2, 0), atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_cmmd_cuts_the_middle_square_first(size: tuple[int, int]) -> None:
    from PIL import Image

    image = picture(*size)
    whole = Image.fromarray(image)
    side = min(whole.size)
    left, top = (whole.width - side) // 2, (whole.height - side) // 2
    cut = whole.crop((left, top, left + side, top + side))
    theirs = np.asarray(cut.resize((336, 336), Image.Resampling.BICUBIC))
    assert (ours(image, "cmmd-336") == theirs).all()


@pytest.mark.parametrize("size", SIZES)
def test_dmd2_shrinks_to_256_before_clean_fid(size: tuple[int, int]) -> None:
    from cleanfid.resize import make_resizer
    from PIL import Image
    from torchvision.transforms.functional import center_crop

    image = picture(*size)
    whole = Image.fromarray(image)
    cut = center_crop(whole, [min(whole.size)] * 2)
    small = np.asarray(cut.resize((256, 256), Image.Resampling.LANCZOS))
    theirs = make_resizer("PIL", False, "bicubic", (299, 299))(small)
    assert_close(ours(image, "dmd2-256"), theirs)


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.sampled_from(SIZES[:3]), min_size=1, max_size=5), st.sampled_from(list(DIALECTS))
)
def test_an_image_alone_is_as_among_others(sizes: list[tuple[int, int]], name: str) -> None:
    images = [picture(*size, seed) for seed, size in enumerate(sizes)]
    together = resized(images, dialect(name))
    side = dialect(name).size
    assert together.shape == (len(images), 3, side, side) and together.dtype == torch.float32
    assert together.min() >= 0 and together.max() <= 255
    for image, found in zip(images, together, strict=True):
        np.testing.assert_allclose(found, resized([image], dialect(name))[0], atol=1e-4)


def test_dialects_have_different_protocols() -> None:
    assert len({how.protocol() for how in DIALECTS.values()}) == len(DIALECTS)
    assert dialect("dmd2-256").protocol() == "square crop, lanczos-uint8 256, then bicubic 299"
    assert Resize(64).name == "bicubic 64"
    assert [how.name for how in DIALECTS.values()] == list(DIALECTS)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_image_of_8_bits_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"8 bits and shape \(height, width, 3\)"):
        resized([image], dialect("clean"))


def test_a_misspelt_dialect_and_impossible_ones_are_told() -> None:
    with pytest.raises(ModelError, match="did you mean 'legacy_pytorch'"):
        dialect("legacy-pytorch")
    with pytest.raises(ModelError, match="ends in 8 bits"):
        Resize(299, before=Resize(256))
    with pytest.raises(ModelError, match="8-bit filters"):
        Resize(224, "bicubic", "short-side")
