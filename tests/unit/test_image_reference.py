"""References: those of other tools are read safely, kdbench's own know their dialect."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inception_files import write_pictures, write_random_inception

from kdbench.errors import ModelError, StoreError
from kdbench.models.reference import read_reference, write_reference

MEAN, COVARIANCE = np.arange(3.0), np.diag([1.0, 2, 3])
PROTOCOL = {"encoder": "inception-2015-12-05", "resize": "bicubic 299"}


def test_clean_fids_and_edms_npz(tmp_path: Path) -> None:
    file = tmp_path / "ffhq_clean_trainval70k_1024.npz"
    np.savez(file, mu=MEAN.astype(np.float32), sigma=COVARIANCE)
    found = read_reference(file)
    mean, covariance = found.gaussian()
    assert mean.dtype == covariance.dtype == np.float64
    assert (mean == MEAN).all() and (covariance == COVARIANCE).all()
    assert found.count is None and not found.protocol
    found.check(PROTOCOL, 3)  # it does not say, so nothing speaks against it
    with pytest.raises(ModelError, match=r"holds no features.*--features"):
        found.rows()


def test_clean_fids_features(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    np.savez(tmp_path / "x_kid.npz", feats=rows)
    found = read_reference(tmp_path / "x_kid.npz")
    assert found.count == 9 and (found.rows() == rows).all()
    mean, covariance = found.gaussian()
    np.testing.assert_allclose(covariance, np.cov(rows.astype(float), rowvar=False))
    np.testing.assert_allclose(mean, rows.mean(axis=0, dtype=float))


def test_guided_diffusions_npz_without_its_images(tmp_path: Path) -> None:
    images = np.zeros((5, 8, 8, 3), np.uint8)
    spatial = {"mu_s": np.zeros(7), "sigma_s": np.eye(7)}
    np.savez(tmp_path / "VIRTUAL.npz", images, mu=MEAN, sigma=COVARIANCE, **spatial)
    assert (read_reference(tmp_path / "VIRTUAL.npz").gaussian()[0] == MEAN).all()


@pytest.mark.parametrize("protocol", [2, 4, pickle.HIGHEST_PROTOCOL])
def test_edm2s_pickle_of_two_encoders(tmp_path: Path, protocol: int) -> None:
    held = {
        "fid": {"mu": MEAN, "sigma": COVARIANCE},
        "fd_dinov2": {"mu": MEAN + 1, "sigma": COVARIANCE},
        "num_images": 1281167,
    }
    file = tmp_path / "img512.pkl"
    file.write_bytes(pickle.dumps(held, protocol))
    assert read_reference(file).count == 1281167
    assert (read_reference(file, "fd_dinov2").gaussian()[0] == MEAN + 1).all()


class Runs:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, evil in enumerate((Runs(), {"fid": {"mu": Runs()}}, np.array([Runs()], object))):
        file = tmp_path / f"{index}.pkl"
        file.write_bytes(pickle.dumps(evil))
        with pytest.raises(ModelError, match="safely"):
            read_reference(file)
    assert "this must not run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"mu": MEAN}, "neither mu and sigma nor feats"),
        ({"mu": MEAN, "sigma": np.eye(4)}, "don't fit together"),
        ({"mu": MEAN, "sigma": np.full((3, 3), np.nan)}, "not finite"),
        ({"mu": np.array([Runs()], object), "sigma": np.eye(1)}, "not an .npz of arrays"),
    ],
)
def test_what_is_no_reference_is_refused(tmp_path: Path, arrays: Any, says: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ModelError, match=says):
        read_reference(tmp_path / "x.npz")


def test_missing_and_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such reference"):
        read_reference(tmp_path / "none.npz")
    np.savez(tmp_path / "whole.npz", mu=MEAN, sigma=COVARIANCE)
    for content in (b"", b"text", (tmp_path / "whole.npz").read_bytes()[:300]):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(ModelError, match=r"x\.npz"):
            read_reference(tmp_path / "x.npz")


def test_its_own_file_comes_back_and_other_tools_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "own.npz"
    rows = np.ones((4, 3), np.float32)
    write_reference(file, MEAN, COVARIANCE, 4, PROTOCOL, "abc", rows)
    found = read_reference(file)
    assert (found.count, found.protocol, found.images) == (4, PROTOCOL, "abc")
    assert (found.rows() == rows).all()
    with np.load(file) as plain:  # as clean-fid does it
        assert (plain["mu"] == MEAN).all() and (plain["sigma"] == COVARIANCE).all()
    first = file.read_bytes()
    write_reference(file, MEAN, COVARIANCE, 4, PROTOCOL, "abc", rows)
    assert file.read_bytes() == first
    with pytest.raises(StoreError):
        write_reference(file / "below.npz", MEAN, COVARIANCE, 4, PROTOCOL, "abc")


def test_another_dialect_is_refused_by_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "own.npz"
    write_reference(file, MEAN, COVARIANCE, 4, PROTOCOL, "abc")
    found = read_reference(file)
    found.check(PROTOCOL, 3)
    with pytest.raises(ModelError, match=r"its resize is bicubic 299, here it is bilinear-tf1 299"):
        found.check({**PROTOCOL, "resize": "bilinear-tf1 299"}, 3)
    with pytest.raises(ModelError, match=r"its weights is nothing, here it is 1234"):
        found.check({**PROTOCOL, "weights": "1234"}, 3)
    with pytest.raises(ModelError, match="width 3, and the encoder has 2048"):
        found.check(PROTOCOL, 2048)


def test_a_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    about = np.array(json.dumps({"format": 99}))
    np.savez(tmp_path / "x.npz", mu=MEAN, sigma=COVARIANCE, kdbench=about)
    with pytest.raises(ModelError, match="format 99, and this version reads 1"):
        read_reference(tmp_path / "x.npz")


def test_the_command_makes_what_a_run_will_compare_with(kdbench: Any, tmp_path: Path) -> None:
    weights = write_random_inception(tmp_path / "inception.pth")
    pictures = write_pictures(tmp_path / "pictures", 3, 1)
    made = ("make", "pictures", "--weights", "inception.pth", "-o", "ref.npz")
    done = kdbench("reference", *made, "--features", "--batch-size", "2")
    assert "ref.npz: 3 images, 2048 features, clean" in done.stdout
    found = read_reference(tmp_path / "ref.npz")

    from kdbench.models.encoders.inception import InceptionEncoder
    from kdbench.models.image_files import ImageFiles
    from kdbench.models.resizing import resized

    encoder = InceptionEncoder(weights)
    found.check(encoder.protocol(), encoder.dimension)
    files = ImageFiles(pictures)
    rows = encoder.encode(resized(files.read(files.names), encoder.resize)).numpy()
    np.testing.assert_allclose(found.rows(), rows, rtol=1e-3, atol=1e-3)
    covariance = np.cov(rows.astype(float), rowvar=False)
    np.testing.assert_allclose(found.gaussian()[1], covariance, atol=1e-3 * covariance.max())

    shown = json.loads(kdbench("reference", "show", "ref.npz", "--json").stdout)
    assert (shown["images"], shown["holds"]) == (3, ["moments", "features"])
    assert shown["protocol"] == encoder.protocol()
    assert "resize: bicubic 299" in kdbench("reference", "show", "ref.npz").stdout

    (tmp_path / "pictures" / "001.png").write_bytes(b"")
    failed = kdbench("reference", *made[:-1], "other.npz", code=3)
    assert "001.png" in failed.stderr and "empty" in failed.stderr
    assert not (tmp_path / "other.npz").exists()
    failed = kdbench("reference", "make", "nowhere", *made[2:], code=3)
    assert "nowhere" in failed.stderr
