"""A loaded image classifier: classes of images, and batches of it for a clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kdbench.errors import ModelError
from kdbench.metrics.roofline import Ceilings, Work
from kdbench.models.adapter import LoadSettings
from kdbench.models.batches import BatchLimits, in_batches
from kdbench.models.images import Image
from kdbench.models.loading import torch_device
from kdbench.models.protocols import Classified
from kdbench.models.timing.ceilings import ceilings
from kdbench.models.timing.clock import Clock, clock_for
from kdbench.models.timing.flop_count import counted


class ImageClassifier:
    """`labels` are the classes' names in the order of the model's outputs."""

    def __init__(self, model: Any, processor: Any, batch_size: int | None, whose: str) -> None:
        self.model, self.processor, self.whose = model, processor, whose
        names = model.config.id2label
        self.labels = [names[index] for index in range(len(names))]
        rows = batch_size or (16 if model.device.type == "cpu" else 256)
        self._limits = BatchLimits(rows, 1 << 62, 1 << 62)
        self._flops: dict[tuple[int, ...], int] = {}

    def classify(self, images: Sequence[Image]) -> list[Classified]:
        """The most probable class of each image (uint8, height x width x 3), and all probabilities."""
        return in_batches(
            images, lambda batch: self._limits.fit(len(batch), 1), self._limits, self._batch
        )

    @contextmanager
    def time_classifier(self, batch: int, seed: int) -> Iterator[ClassifierRun]:
        """A run over `batch` images of noise, resized and normalised before it begins."""
        yield ClassifierRun(self, batch, seed)

    def close(self) -> None:
        """Let go of the weights."""
        self.model = None

    def pixels(self, images: Sequence[Image]) -> Any:
        """What the processor makes of images: (N, 3, height, width) on the model's device in its dtype."""
        made = self.processor(images=list(images), return_tensors="pt")
        return made["pixel_values"].to(self.model.device, self.model.dtype)

    def flops(self, pixels: Any) -> int:
        """FLOPs of one image of that shape, counted by torch in a real call."""
        shape = tuple(pixels.shape[1:])
        if shape not in self._flops:
            one = pixels[:1]
            plain = self.model.device.type == "cpu"
            self._flops[shape] = counted(lambda: self.model(pixel_values=one), plain)
        return self._flops[shape]

    def _batch(self, images: Sequence[Image]) -> list[Classified]:
        import torch

        with torch.inference_mode():
            logits = self.model(pixel_values=self.pixels(images)).logits
        # in double precision a class has to be e**700 times less likely before it counts as impossible
        sure = logits.double().softmax(-1).cpu().numpy()
        return [Classified(int(row.argmax()), tuple(map(float, row))) for row in sure]


class ClassifierRun:
    """From normalised pixels on the device to the class of each; see `BatchRun`."""

    def __init__(self, model: ImageClassifier, batch: int, seed: int) -> None:
        self._model, self.batch = model, batch
        self.device = str(model.model.device)
        self.clock: Clock = clock_for(self.device)
        draw = np.random.default_rng(seed)
        height, width = _size(model.processor)
        noise = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        self._pixels = model.pixels([noise]).repeat(batch, 1, 1, 1)

    def __call__(self, mark: Callable[[], None]) -> None:
        import torch

        with torch.inference_mode():
            self._model.model(pixel_values=self._pixels).logits.argmax(-1)

    def parts(self, call: Sequence[float]) -> dict[str, float]:
        return {}

    def facts(self) -> dict[str, float]:
        return {"flops_per_image": self._model.flops(self._pixels)}

    def work(self) -> Work:
        """Weights move once for a batch, pixels once."""
        weights = sum(one.numel() * one.element_size() for one in self._model.model.parameters())
        pixels = self._pixels.numel() * self._pixels.element_size()
        return Work(float(self._model.flops(self._pixels)) * self.batch, float(weights + pixels))

    def ceilings(self) -> Ceilings:
        import torch

        return ceilings(self.device, self._model.model.dtype, torch.get_num_threads())


def load_image_classifier(
    folder: Path, processor: Path, settings: LoadSettings, dtype: str
) -> ImageClassifier:
    """The classifier in `folder`, on its device, in evaluation mode.

    Raises `ModelError` where a file is damaged, weights are missing or an architecture is unknown.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    device = torch_device(settings.device)
    try:
        make: Any = AutoImageProcessor
        made = make.from_pretrained(processor, use_fast=True)
        model, report = AutoModelForImageClassification.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=settings.trust_remote_code,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError,
            SafetensorError) as error:  # fmt: skip
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{folder}: transformers can't load the classifier ({type(error).__name__}: {reason[:400]}); "
            "check that its files are complete and that transformers knows its architecture"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder}: the weights lack {len(missing)} tensors ({', '.join(missing[:3])}), which would be "
            "filled at random; fetch the model again, or check that config.json belongs to it"
        )
    return ImageClassifier(model.to(device).eval(), made, settings.batch_size, str(folder))


def _size(processor: Any) -> tuple[int, int]:
    """Height and width of an image that the processor need not enlarge."""
    size = getattr(processor, "crop_size", None) or processor.size
    if "height" in size:
        return int(size["height"]), int(size["width"])
    edge = size.get("shortest_edge", 224)
    return int(edge), int(edge)
