"""One Inception, one file of weights, PNGs of mixed sizes: each dialect gives its tool's own distance."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inception_files import write_pictures, write_random_inception

torch = pytest.importorskip("torch")

from kdbench.metrics.frechet import frechet_between  # noqa: E402
from kdbench.models.encoders.inception import InceptionEncoder  # noqa: E402
from kdbench.models.image_files import ImageFiles  # noqa: E402
from kdbench.models.resizing import resized  # noqa: E402

WIDTH, IMAGES = 192, 8


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_inception(tmp_path_factory.mktemp("weights") / "inception.pth")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("pictures")
    return write_pictures(place / "a", IMAGES, 1), write_pictures(place / "b", IMAGES, 2)


def features(encoder: InceptionEncoder, folder: Path, count: int | None = None) -> Any:
    files = ImageFiles(folder)
    pixels = files.read(files.names[:count])
    return encoder.encode(resized(pixels, encoder.resize)).numpy()


@cache
def distance(weights: Path, folders: tuple[Path, Path], resize: str) -> float:
    encoder = InceptionEncoder(weights, resize, layer=WIDTH)
    return frechet_between(*(features(encoder, folder) for folder in folders))


def fidelity(weights: Path, width: int) -> Any:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return FeatureExtractorInceptionV3("inception-v3-compat", [str(width)], str(weights))


def after_resizing(network: Any, pixels: Any) -> Any:
    """torch-fidelity's layers up to the second pool, on pixels that are normalised already."""
    x = pixels
    for name in ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1"):
        x = getattr(network, name)(x)
    for name in ("Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"):
        x = getattr(network, name)(x)
    return x.mean(dim=(2, 3))


def clean_fid(folders: tuple[Path, Path], mode: str, model: Any) -> float:
    from cleanfid.fid import compare_folders

    return float(
        compare_folders(
            *map(str, folders), model, mode,
            num_workers=0, batch_size=1, device=torch.device("cpu"), verbose=False,
        )
    )  # fmt: skip


def test_clean_is_clean_fids(weights: Path, folders: tuple[Path, Path]) -> None:
    network = fidelity(weights, WIDTH)
    theirs = clean_fid(folders, "clean", lambda x: after_resizing(network, (x - 128) / 128))
    assert distance(weights, folders, "clean") == pytest.approx(theirs, rel=1e-5)


def test_legacy_pytorch_is_pytorch_fids_own_network_on_clean_fids_resizing(
    weights: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cleanfid import inception_pytorch

    tensors = torch.load(weights, weights_only=True)
    monkeypatch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *_, **__: tensors)
    network = inception_pytorch.InceptionV3(output_blocks=[1], resize_input=False).eval()
    theirs = clean_fid(folders, "legacy_pytorch", lambda x: network(x / 255)[0].mean(dim=(2, 3)))
    assert distance(weights, folders, "legacy_pytorch") == pytest.approx(theirs, rel=1e-5)


def test_legacy_tensorflow_is_torch_fidelitys(weights: Path, folders: tuple[Path, Path]) -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    network = fidelity(weights, WIDTH)

    def statistics(folder: Path) -> Any:
        files = ImageFiles(folder)
        images = (torch.tensor(image).permute(2, 0, 1)[None] for image in files.read(files.names))
        return fid_features_to_statistics(torch.cat([network(image)[0] for image in images]))

    found = fid_statistics_to_metric(*map(statistics, folders), verbose=False)
    theirs = found["frechet_inception_distance"]
    assert distance(weights, folders, "legacy_tensorflow") == pytest.approx(theirs, rel=1e-5)


def test_torchmetrics_is_torchmetrics(weights: Path, folders: tuple[Path, Path]) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    peer = FrechetInceptionDistance(WIDTH, feature_extractor_weights_path=str(weights))
    peer.set_dtype(torch.float64)  # by itself it adds up in float32
    for folder, real in zip(folders, (True, False), strict=True):
        files = ImageFiles(folder)
        for image in files.read(files.names):
            peer.update(torch.tensor(image).permute(2, 0, 1)[None], real=real)
    theirs = float(peer.compute())
    assert distance(weights, folders, "torchmetrics") == pytest.approx(theirs, rel=1e-3)


def test_the_whole_network_gives_torch_fidelitys_2048_features(
    weights: Path, folders: tuple[Path, Path]
) -> None:
    ours = features(InceptionEncoder(weights, "legacy_tensorflow"), folders[0], 3)
    network = fidelity(weights, 2048)
    files = ImageFiles(folders[0])
    images = files.read(files.names[:3])
    theirs = np.concatenate(
        [network(torch.tensor(image).permute(2, 0, 1)[None])[0].numpy() for image in images]
    )
    assert ours.std() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4 * float(theirs.std()))


def test_the_dialects_are_far_apart_where_tools_differ(
    weights: Path, folders: tuple[Path, Path]
) -> None:
    found = [
        distance(weights, folders, name)
        for name in ("clean", "legacy_pytorch", "legacy_tensorflow", "torchmetrics")
    ]
    gaps = [abs(a / b - 1) for i, a in enumerate(found) for b in found[:i]]
    assert min(gaps) > 1e-3
