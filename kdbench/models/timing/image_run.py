"""A batch of images through a diffusers pipeline, with marks around its denoiser and its decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from kdbench.metrics.roofline import Ceilings, Work
from kdbench.models.image_pipeline import DENOISERS
from kdbench.models.images import ImageRequest
from kdbench.models.timing.ceilings import ceilings
from kdbench.models.timing.clock import Clock, clock_for
from kdbench.models.timing.flop_count import counted

if TYPE_CHECKING:
    from kdbench.models.image_pipeline import ImagePipeline

DECODERS = ("vae", "vqvae", "movq")
_COUNTED: WeakKeyDictionary[Any, tuple[int, int]] = WeakKeyDictionary()
"""FLOPs and evaluations of one image, by pipeline model."""


class ImageRun:
    """Marks come in pairs, before and after each evaluation of a denoiser and each decoding."""

    def __init__(
        self,
        model: ImagePipeline,
        requests: Sequence[ImageRequest],
        make: Callable[[Sequence[ImageRequest]], Any],
    ) -> None:
        """`make` makes all images of `requests` at once, whatever the memory."""
        self.model, self.batch = model, len(requests)
        self.device = str(model.pipeline.device)
        self.clock: Clock = clock_for(self.device)
        self._requests = requests
        self._make = make
        self._kinds: list[str] = []

    def __call__(self, mark: Callable[[], None]) -> None:
        with marked(self.model.pipeline, mark) as kinds:
            self._make(self._requests)
        self._kinds = kinds

    def parts(self, call: Sequence[float]) -> dict[str, float]:
        """Seconds of denoiser and decoder, added up, of one evaluation, and of what is left."""
        spent = {"denoiser": 0.0, "decode": 0.0}
        for number, kind in enumerate(self._kinds):
            spent[kind] += call[2 * number + 1] - call[2 * number]
        found = {"rest": call[-1] - sum(spent.values())}
        if spent["denoiser"] > 0 and self.model.steps:
            found["denoiser"] = spent["denoiser"]
            found["denoiser.per_step"] = spent["denoiser"] / self.model.steps
        if "decode" in self._kinds:
            found["decode"] = spent["decode"]
        return found

    def facts(self) -> dict[str, float]:
        flops, steps = self._counted()
        return {"flops_per_image": flops, **({"steps": steps} if steps else {})}

    def work(self) -> Work:
        """FLOPs of the whole pipeline; bytes are the denoiser's weights once an evaluation."""
        flops, steps = self._counted()
        networks = [getattr(self.model.pipeline, name, None) for name in DENOISERS]
        weights = sum(
            one.numel() * one.element_size()
            for network in networks if network is not None
            for one in network.parameters()
        )  # fmt: skip
        return Work(flops * self.batch, float(weights * max(1, steps)))

    def ceilings(self) -> Ceilings:
        import torch

        return ceilings(self.device, self.model.pipeline.dtype, torch.get_num_threads())

    def _counted(self) -> tuple[int, int]:
        known = _COUNTED.get(self.model)
        if known is None:
            flops = counted(
                lambda: self._make(self._requests[:1]), plain_attention=self.device == "cpu"
            )
            known = _COUNTED[self.model] = flops, self.model.steps or 0
        return known


@contextmanager
def marked(pipeline: Any, mark: Callable[[], None]) -> Iterator[list[str]]:
    """Marks before and after each evaluation of a denoiser and each decoding while the context is open; the
    list says which of the two each pair of marks belongs to."""
    import torch

    kinds: list[str] = []

    def before(*_: Any) -> None:
        mark()

    def after(*_: Any) -> None:
        mark()
        kinds.append("denoiser")

    networks = [getattr(pipeline, name, None) for name in DENOISERS]
    handles = []
    for network in networks:
        if isinstance(network, torch.nn.Module):
            handles += [
                network.register_forward_pre_hook(before), network.register_forward_hook(after),
            ]  # fmt: skip
    decoders = [one for name in DECODERS if (one := getattr(pipeline, name, None)) is not None]
    for decoder in decoders:
        decoder.decode = _marking(decoder.decode, mark, kinds)
    try:
        yield kinds
    finally:
        for handle in handles:
            handle.remove()
        for decoder in decoders:
            del decoder.decode


def _marking(decode: Callable[..., Any], mark: Callable[[], None], kinds: list[str]) -> Any:
    def wrapped(*given: Any, **named: Any) -> Any:
        mark()
        found = decode(*given, **named)
        mark()
        kinds.append("decode")
        return found

    return wrapped


def requests_for(
    asks: str, pipeline: Any, batch: int, prompt: str, seed: int
) -> list[ImageRequest]:
    """What a pipeline `asks` for: a "prompt", "class_labels" (all classes in turn), or nothing."""
    text = prompt if asks == "prompt" else ""
    labelled = asks == "class_labels"
    classes = _classes(pipeline)
    return [
        ImageRequest(text, number % classes if labelled else None, seed + number, number)
        for number in range(batch)
    ]


def _classes(pipeline: Any) -> int:
    for network, key in (("unet", "num_class_embeds"), ("transformer", "num_embeds_ada_norm")):
        count = getattr(getattr(getattr(pipeline, network, None), "config", None), key, None)
        if count:
            return int(count)
    return 1
