"""Statistics of real images that generated ones are compared with.

kdbench's own files (`kdbench reference make`) say in which dialect they were made; a reference of another
dialect is refused, naming what differs. Files of other tools don't say: clean-fid's `.npz` (mu, sigma;
feats for KID), EDM's `.npz` and `.pkl`, guided-diffusion's `.npz`. With those the suite vouches for the
dialect, and the file's hash stands in the protocol id.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import ModelError
from kdbench.models.file_hash import sha256_of
from kdbench.results.files import publish

FORMAT = 1

_SAFE = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.numeric", "_frombuffer"),
        ("_codecs", "encode"),
    }
)
"""All that a pickle of arrays needs; reading anything else could run code."""


@dataclass(frozen=True)
class Reference:
    """Mean (d,), covariance (d, d) and, where kept, features (n, d) of `count` images.

    `count` is None and `protocol` empty where the file does not say. `digest` is the file's sha256.
    """

    source: Path
    digest: str
    mean: NDArray[np.float64] | None
    covariance: NDArray[np.float64] | None
    features: NDArray[np.floating[Any]] | None = None
    count: int | None = None
    protocol: Mapping[str, str] = field(default_factory=dict)
    images: str = ""

    @property
    def dimension(self) -> int:
        if self.mean is not None:
            return self.mean.size
        assert self.features is not None
        return int(self.features.shape[1])

    def check(self, protocol: Mapping[str, str], dimension: int) -> None:
        """Raise `ModelError` unless it was made in this dialect, where it says, and has this width."""
        for part in sorted({*protocol, *self.protocol} if self.protocol else ()):
            ours, theirs = protocol.get(part, "nothing"), self.protocol.get(part, "nothing")
            if ours != theirs:
                raise ModelError(
                    f"{self.source}: a reference of another protocol: its {part} is {theirs}, here it is "
                    f"{ours}; make one with `kdbench reference make`"
                )
        if self.dimension != dimension:
            raise ModelError(
                f"{self.source}: features of width {self.dimension}, and the encoder has {dimension}"
            )

    def gaussian(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and covariance; `ModelError` where the file holds features alone and too few of them."""
        if self.mean is not None and self.covariance is not None:
            return self.mean, self.covariance
        from kdbench.metrics.moments import Moments

        assert self.features is not None
        if len(self.features) < 2:
            raise ModelError(f"{self.source}: a covariance needs at least two images")
        moments = Moments.of(self.features)
        return moments.mean, moments.covariance

    def rows(self) -> NDArray[np.floating[Any]]:
        """The features; `ModelError` where only mean and covariance were kept."""
        if self.features is None:
            raise ModelError(
                f"{self.source}: holds no features, which KID, CMMD, precision and recall need; make it with "
                "`kdbench reference make --features`"
            )
        return self.features


def read_reference(path: Path, section: str = "fid") -> Reference:
    """Any of the known files; `section` picks one of several in EDM2's pickles (`fid`, `fd_dinov2`).

    Raises `ModelError` for a file that is none of them, or whose arrays don't fit together.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such reference; make one with `kdbench reference make`")
    arrays = _npz(path) if zipfile.is_zipfile(path) else _pickle(path, section)
    about = _about(path, arrays)
    mean, covariance = (arrays.get(name) for name in ("mu", "sigma"))
    features = arrays.get("feats")
    if features is None and (mean is None or covariance is None):
        raise ModelError(
            f"{path}: neither mu and sigma nor feats among its arrays ({', '.join(sorted(arrays))})"
        )
    if mean is not None and covariance is not None:
        mean, covariance = mean.astype(np.float64).ravel(), covariance.astype(np.float64)
        if covariance.shape != (mean.size, mean.size):
            raise ModelError(
                f"{path}: mu {mean.shape} and sigma {covariance.shape} don't fit together"
            )
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise ModelError(f"{path}: mu or sigma hold values that are not finite")
    counted = arrays.get("num_images")
    count = about.get("count", None if counted is None else int(counted))
    if count is None and features is not None:
        count = len(features)
    return Reference(
        path,
        sha256_of(path),
        mean,
        covariance,
        features,
        count,
        about.get("protocol", {}),
        about.get("images", ""),
    )


def write_reference(
    path: Path,
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    count: int,
    protocol: Mapping[str, str],
    images: str,
    features: NDArray[np.floating[Any]] | None = None,
) -> None:
    """One `.npz` that clean-fid and EDM can read, too, with the protocol inside.

    `images` is a hash over their pixels. Written whole or not at all.
    """
    about = {
        "format": FORMAT,
        "count": count,
        "protocol": dict(protocol),
        "images": images,
    }
    arrays: dict[str, Any] = {"mu": mean, "sigma": covariance}
    if features is not None:
        arrays["feats"] = features
    held = io.BytesIO()
    np.savez(held, kdbench=np.array(json.dumps(about, sort_keys=True)), **arrays)
    publish(path, held.getvalue())


def _about(path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    if "kdbench" not in arrays:
        return {}
    about = json.loads(str(arrays["kdbench"]))
    if about.get("format") != FORMAT:
        raise ModelError(
            f"{path}: format {about.get('format')}, and this version reads {FORMAT}; make it again"
        )
    return dict(about)


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by name; guided-diffusion's 10,000 images in `arr_0` are left where they are."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if not name.startswith("arr_")}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: not an .npz of arrays ({error}); fetch it again") from error


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, and only arrays are read")
        return super().find_class(module, name)


def _pickle(path: Path, section: str) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:
            held = _ArraysOnly(file).load()
    except Exception as error:  # a pickle may fail in every way
        raise ModelError(f"{path}: not a reference that can be read safely ({error})") from error
    if isinstance(held, Mapping) and isinstance(held.get(section), Mapping):
        held = {**held[section], "num_images": held.get("num_images")}
    if not isinstance(held, Mapping):
        raise ModelError(f"{path}: expected arrays by name, found {type(held).__name__}")
    numbers = (np.ndarray, int, float)
    return {str(name): np.asarray(v) for name, v in held.items() if isinstance(v, numbers)}
