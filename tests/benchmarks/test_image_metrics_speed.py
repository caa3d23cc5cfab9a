"""Image metrics beside the formulas of their tools: seconds of one core, on the same arrays, in one run."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inception_files import write_pictures, write_random_inception

from kdbench.metrics.cmmd import cmmd, cmmd_from_moments, normalised
from kdbench.metrics.frechet import covariance_root, frechet_between, frechet_distance
from kdbench.metrics.kid import kernel_sums
from kdbench.metrics.moments import Moments
from kdbench.metrics.prdc import prdc
from kdbench.stats.jackknife import folds

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def only_when_asked(benchmark: Any) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time, which neighbours on the machine disturb less than the clock on the wall."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")


def features(count: int, seed: int, width: int = 2048, scale: float = 1.0) -> np.ndarray:
    """A spectrum that falls by a factor of 40, as Inception's roughly does."""
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return (scale * rows * np.linspace(2, 0.05, width)).astype(np.float32)


def test_the_distance_of_given_covariances_needs_no_matrix_root(
    benchmark: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from cleanfid.fid import frechet_distance as peer

    one, two = (Moments.of(features(5000, seed, scale=1 + seed / 20)) for seed in (1, 2))
    given = (one.mean, one.covariance, two.mean, two.covariance)
    theirs, expected = seconds(lambda: peer(*given))
    ours, found = benchmark.pedantic(
        lambda: seconds(lambda: frechet_distance(*given)), rounds=1, iterations=1
    )
    root = covariance_root(two.covariance)
    again, _ = seconds(lambda: frechet_distance(*given, root))
    say(
        capsys,
        f"Frechet, covariances given, d=2048: {ours:.2f} s, {again:.2f} s with the reference's root kept; "
        f"sqrtm {theirs:.1f} s: {theirs / ours:.1f} and {theirs / again:.1f} times faster; relative "
        f"difference {abs(found / expected - 1):.1e}",
    )
    assert found == pytest.approx(expected, rel=1e-6)
    assert theirs / ours > 6


def test_the_distance_of_few_features_needs_no_covariance(
    benchmark: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from cleanfid.fid import fid_from_feats

    one, two = features(500, 1), features(500, 2, scale=1.1)
    theirs, expected = seconds(lambda: fid_from_feats(one, two))
    ours, found = benchmark.pedantic(
        lambda: seconds(lambda: frechet_between(one, two)), rounds=1, iterations=1
    )
    say(
        capsys,
        f"Frechet from 500 + 500 features: {ours:.3f} s, clean-fid {theirs:.1f} s: "
        f"{theirs / ours:.0f} times faster; relative difference {abs(found / expected - 1):.1e}",
    )
    assert found == pytest.approx(
        expected, rel=1e-5
    )  # the root of singular products is the coarser
    assert theirs / ours > 100


def reference_cmmd(x: np.ndarray, y: np.ndarray) -> float:
    """As the published code computes it: in torch and float32, lengths as diagonals of whole products."""
    import torch

    first, second = torch.from_numpy(x), torch.from_numpy(y)
    lengths = [torch.diag(rows @ rows.T) for rows in (first, second)]

    def mean(a: Any, b: Any, a_sq: Any, b_sq: Any) -> Any:
        return torch.exp(-1 / 200 * (-2 * (a @ b.T) + a_sq[:, None] + b_sq[None, :])).mean()

    own = mean(first, first, lengths[0], lengths[0]) + mean(second, second, lengths[1], lengths[1])
    return float(1000 * (own - 2 * mean(first, second, *lengths)))


def test_cmmd_streams(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    common = 0.8 * np.random.default_rng(9).normal(size=768)
    x, y = (
        normalised(common + (1 + seed / 20) * np.random.default_rng(seed).normal(size=(5000, 768)))
        for seed in (1, 2)
    )
    low = [rows.astype(np.float32) for rows in (x, y)]
    theirs, coarse = seconds(lambda: reference_cmmd(*low))
    kept = Moments.of(y)

    def streamed() -> float:
        moments = Moments(768)
        for part in np.split(x, 50):
            moments.add(part)
        return cmmd_from_moments(moments.mean, moments.second_moment, kept.mean, kept.second_moment)

    ours, found = benchmark.pedantic(lambda: seconds(streamed), rounds=1, iterations=1)
    exact_seconds, exact = seconds(lambda: cmmd(x, y))
    say(
        capsys,
        f"CMMD, N=5000: {ours:.2f} s against a kept reference, formula in float32 {theirs:.1f} s: "
        f"{theirs / ours:.0f} times faster; all pairs in float64 {exact_seconds:.1f} s; off the latter by "
        f"{abs(found / exact - 1):.1e}, the formula by {abs(coarse / exact - 1):.1e}",
    )
    assert found == pytest.approx(exact, rel=1e-4)
    assert theirs / ours > 10


def test_no_matrix_of_all_pairs_is_held(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    count = 20_000
    x, y = (features(count, seed, 64, 1 + seed / 20) for seed in (1, 2))

    def peak(work: Callable[[], Any]) -> float:
        tracemalloc.start()
        work()
        held = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        return held

    held = benchmark.pedantic(
        lambda: {
            "KID": peak(lambda: kernel_sums(x, y).value),
            "precision ... coverage": peak(lambda: prdc(x, y, folds=folds(count, 10))),
            "CMMD": peak(lambda: cmmd(normalised(x), normalised(y))),
        },
        rounds=1,
        iterations=1,
    )
    whole = count**2 * 8 / 2**20
    told = ", ".join(f"{name} {size:.0f} MiB" for name, size in held.items())
    say(capsys, f"peak memory at N={count}: {told}; one N x N matrix is {whole:.0f} MiB")
    assert max(held.values()) < whole / 3


def test_two_hundred_pictures_give_clean_fids_distance(
    benchmark: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import torch
    from cleanfid.fid import compare_folders
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    from kdbench.models.encoders.inception import InceptionEncoder
    from kdbench.models.image_files import ImageFiles
    from kdbench.models.resizing import resized

    weights = write_random_inception(tmp_path / "inception.pth")
    folders = [write_pictures(tmp_path / name, 100, seed) for seed, name in enumerate("ab", 1)]
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(weights))
    layers = [m for name, m in network.named_children() if name not in ("AvgPool", "fc")]

    def peer(x: Any) -> Any:
        x = (x - 128) / 128
        for layer in layers:
            x = layer(x)
        return x.mean(dim=(2, 3))

    def theirs() -> float:
        cpu = torch.device("cpu")
        kept = {"num_workers": 0, "batch_size": 10, "device": cpu, "verbose": False}
        return float(compare_folders(*map(str, folders), peer, "clean", **kept))

    encoder = InceptionEncoder(weights)

    def rows(folder: Path) -> np.ndarray:
        files = ImageFiles(folder)
        parts = [files.names[start : start + 10] for start in range(0, 100, 10)]
        return np.concatenate(
            [encoder.encode(resized(files.read(part), encoder.resize)).numpy() for part in parts]
        )

    def ours() -> float:
        return frechet_between(*map(rows, folders))

    took, found = benchmark.pedantic(lambda: seconds(ours), rounds=1, iterations=1)
    their_seconds, expected = seconds(theirs)
    say(
        capsys,
        f"FID of 2 x 100 PNGs: {took:.0f} s, clean-fid {their_seconds:.0f} s: "
        f"{their_seconds / took:.1f} times faster; {found:.6f}, clean-fid {expected:.6f}",
    )
    assert found == pytest.approx(expected, rel=1e-4)
