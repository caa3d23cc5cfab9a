"""Penultimate features of an image classifier, for data that Inception knows nothing of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.checkpoint import Checkpoint, content_digest, read_json
from kdbench.models.encoders.encoder import exact, normalised
from kdbench.models.file_hash import digest_of
from kdbench.models.resizing import Filter, Resize

if TYPE_CHECKING:
    import torch

_FILTERS: dict[int, Filter] = {2: "bilinear", 3: "bicubic"}
_PROCESSOR = "preprocessor_config.json"


class ClassifierEncoder:
    """What the last linear layer of any of transformers' image classifiers takes in.

    `folder` is as `save_pretrained` writes it, safetensors, with the image processor's configuration
    beside it: its square size, filter (bilinear or bicubic), mean and deviation are used, the resizing
    kept in floats.
    """

    name = "classifier"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Raises `ModelError` where the folder holds no such classifier."""
        from transformers import AutoModelForImageClassification

        files = Checkpoint(folder)
        files.check()
        self.resize, self._mean, self._std = _preparation(folder)
        try:
            model: Any = AutoModelForImageClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder}: no image classifier can be read ({error})") from error
        head = _head(model, folder)
        self.dimension = int(head.in_features)
        self._folder = folder
        self._device = device
        self._model = model.float().eval().to(device)
        self._taken: list[torch.Tensor] = []
        head.register_forward_pre_hook(lambda _, given: self._taken.append(given[0]))

    def protocol(self) -> dict[str, str]:
        return protocol(self._folder)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        with exact():
            self._model(pixel_values=normalised(pixels.to(self._device), self._mean, self._std))
            return self._taken.pop().flatten(1).float().cpu()


def protocol(folder: Path) -> dict[str, str]:
    """The dialect in parts, from the files alone; `ModelError` where they are missing."""
    files = Checkpoint(folder)
    resize, mean, std = _preparation(folder)
    parts = {"weights": files.weights_digest(), "config": content_digest(files.config)}
    return {
        "encoder": ClassifierEncoder.name,
        "weights": digest_of(parts),
        "resize": resize.protocol(),
        "normalise": f"mean {_listed(mean)}, deviation {_listed(std)}",
        "features": "what the last layer takes in",
        "dtype": "float32",
    }


def _head(model: Any, folder: Path) -> Any:
    """The layer that tells the classes apart."""
    from torch import nn

    last = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not last or last[-1].out_features != model.config.num_labels:
        raise ModelError(f"{folder}: the classifier does not end in one linear layer")
    return last[-1]


def _preparation(folder: Path) -> tuple[Resize, tuple[float, ...], tuple[float, ...]]:
    place = folder / _PROCESSOR
    if not place.is_file():
        raise ModelError(f"{folder}: no {_PROCESSOR}, which says how images are prepared")
    config = read_json(place)
    size, resample = config.get("size") or {}, config.get("resample", 2)
    side = size.get("height")
    if side is None or side != size.get("width") or config.get("do_center_crop"):
        raise ModelError(f"{place}: images are resized to a square here, and `size` says {size}")
    if resample not in _FILTERS:
        raise ModelError(f"{place}: resample {resample}; known are 2 (bilinear) and 3 (bicubic)")
    mean, std = (tuple(config.get(key) or (0.5,) * 3) for key in ("image_mean", "image_std"))
    return Resize(int(side), _FILTERS[resample]), mean, std


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
