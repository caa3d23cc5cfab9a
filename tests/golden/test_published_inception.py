"""The true weights of Inception: published distances come out, and real photographs' are clean-fid's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import published
import pytest
from inception_files import write_random_inception

from kdbench.metrics.frechet import frechet_between
from kdbench.metrics.kid import kernel_sums, kid_subsets
from kdbench.models.encoders.inception import InceptionEncoder
from kdbench.models.image_files import ImageFiles
from kdbench.models.resizing import resized

pytestmark = [pytest.mark.slow, pytest.mark.weights]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    folder = os.environ.get("KDBENCH_SHARED_DATA")
    if not folder:
        pytest.skip("KDBENCH_SHARED_DATA does not name the folder of golden values")
    place = Path(folder) / "golden" / "golden_values.json"
    return dict(json.loads(place.read_text())["fid_inception_golden"])


@pytest.fixture(scope="module")
def random_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """The images of torchmetrics' documentation, whose generator has first made a network's weights."""
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = write_random_inception(tmp_path_factory.mktemp("weights") / "inception.pth")
    torch.manual_seed(42)
    FeatureExtractorInceptionV3("inception-v3-compat", ["64"], str(weights))
    shape = (100, 3, 299, 299)
    low = torch.randint(0, 200, shape, dtype=torch.uint8)
    return low, torch.randint(100, 255, shape, dtype=torch.uint8)


def features(encoder: InceptionEncoder, images: Any) -> np.ndarray:
    parts = [encoder.encode(part.float()) for part in images.split(20)]
    return np.concatenate([part.numpy() for part in parts])


def test_the_documented_distance_of_64_features(golden: Any, random_images: Any) -> None:
    encoder = InceptionEncoder(published.inception_torchscript(), layer=64)
    found = frechet_between(*(features(encoder, images) for images in random_images))
    assert found == pytest.approx(golden["fid64_doc"], abs=5e-5)


def test_the_documented_kernel_distance(golden: Any, random_images: Any) -> None:
    encoder = InceptionEncoder(published.inception_torchscript())
    low, high = (features(encoder, images) for images in random_images)
    documented, deviation = golden["kid_doc"]
    drawn = kid_subsets(low, high, size=50)
    mean, spread = drawn.folded.value, drawn.deviation
    # two draws of 100 subsets each
    assert mean == pytest.approx(documented, abs=4 * deviation / np.sqrt(50))
    assert spread == pytest.approx(deviation, rel=0.3)
    exact = kernel_sums(low, high).folded().estimate()
    assert exact.value == pytest.approx(documented, abs=deviation)
    assert exact.low < documented < exact.high


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photographs that scikit-image and scikit-learn ship, whole and in crops, in two folders."""
    from PIL import Image
    from skimage import data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry")
    photos = [getattr(data, name)() for name in (*names, "hubble_deep_field")]
    photos += list(load_sample_images().images)
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for index, photo in enumerate(photos):
        place = folder / ("a" if index % 2 else "b")
        place.mkdir(exist_ok=True)
        Image.fromarray(photo).save(place / f"{index}.png")
        for crop in range(2):
            side = int(random.integers(150, min(photo.shape[:2])))
            top, left = (int(random.integers(0, length - side + 1)) for length in photo.shape[:2])
            cut = photo[top : top + side, left : left + side]
            Image.fromarray(cut).save(place / f"{index}-{crop}.jpg", quality=92)
    return folder / "a", folder / "b"


def test_real_photographs_are_as_far_apart_as_clean_fid_finds_them(
    photographs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from cleanfid.fid import compare_folders

    weights = published.inception_torchscript()
    script: Any = torch.jit.load(str(weights)).eval()

    def as_clean_fid_calls_it(x: Any) -> Any:
        return script((x - 128) / 128).reshape(len(x), 2048)

    cpu = torch.device("cpu")
    kept = {"num_workers": 0, "batch_size": 8, "device": cpu, "verbose": False}
    theirs = compare_folders(*map(str, photographs), as_clean_fid_calls_it, "clean", **kept)
    encoder = InceptionEncoder(weights)
    rows = []
    for folder in photographs:
        files = ImageFiles(folder)
        rows.append(encoder.encode(resized(files.read(files.names), encoder.resize)).numpy())
    ours = frechet_between(*rows)
    with capsys.disabled():
        print(f"\nphotographs, FID clean: {ours:.6f}, clean-fid {theirs:.6f}")  # noqa: T201
    assert ours == pytest.approx(theirs, rel=1e-4)
