"""Every judge by its name: what it rests on, its dialect in parts, and how it is loaded.

Asking for a name, a protocol or what must be fetched loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kdbench.errors import ModelError, did_you_mean
from kdbench.metrics.clip_score import SCALES, Scale
from kdbench.models.adapter import Download
from kdbench.models.resizing import DIALECTS, Resize

if TYPE_CHECKING:
    import torch

CLIP = DIALECTS["clip"]
DMD2 = Resize(224, "bicubic-uint8", "short-side", before=Resize(256, "lanczos-uint8", "square"))
PADDED = DIALECTS["hpsv2"]
PREFERENCE = Scale(100.0)
OWN_SCALE = "logit scale of the weights"


class Judge(Protocol):
    """A loaded judge, bound to a device."""

    resize: Resize

    def scores(self, pixels: torch.Tensor, prompts: Sequence[str]) -> list[float]:
        """One score for each image [N, 3, S, S] in 0..255 (see `resized`) with its own prompt.

        Raises `ModelError` where the counts differ.
        """
        ...


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """A judge that is not loaded. `weights` are names of the manifest; the first holds the network."""

    name: str
    about: str
    unit: str
    weights: tuple[str, ...]
    network: str
    text: str
    scale: str
    resize: Resize
    open: Callable[[JudgeSpec, str], Judge]

    def protocol(self) -> dict[str, str]:
        """The dialect in parts; scores of judges that differ in one of them are not comparable."""
        from kdbench.models.weights import digest_of

        return {
            "judge": self.name,
            "network": self.network,
            "weights": digest_of(self.weights[0]),
            "resize": self.resize.protocol(),
            "text": self.text,
            "scale": self.scale,
            "dtype": "float32",
        }

    def downloads(self) -> list[Download]:
        """What a run would have to fetch first."""
        from kdbench.models.weights import download

        return [item for name in self.weights for item in download(name)]

    def fetch(self) -> None:
        """Fetch what `downloads` lists."""
        from kdbench.models.weights import fetch

        for name in self.weights:
            fetch(name)

    def load(self, device: str = "cpu") -> Judge:
        """The judge on `device`; `ModelError` where its weights are missing or not what they should be."""
        return self.open(self, device)


def judge(name: str) -> JudgeSpec:
    """The judge called `name`; `ModelError` names the nearest one."""
    try:
        return JUDGES[name]
    except KeyError:
        raise ModelError(
            f"no judge named {name!r}{did_you_mean(name, list(JUDGES))}; known are {', '.join(JUDGES)}"
        ) from None


def _hessel(spec: JudgeSpec, device: str) -> Judge:
    from kdbench.models.judges import cosine

    return cosine.openai(spec, SCALES["hessel"], device, prefix="A photo depicts ")


def _torchmetrics(spec: JudgeSpec, device: str) -> Judge:
    from kdbench.models.judges import cosine

    return cosine.openai(spec, SCALES["torchmetrics"], device, cut="bare")


def _sana(spec: JudgeSpec, device: str) -> Judge:
    from kdbench.models.judges import cosine

    return cosine.openai(spec, None, device)


def _dmd2(spec: JudgeSpec, device: str) -> Judge:
    from kdbench.models.judges import cosine

    return cosine.open_clip(spec, "ViT-g-14", SCALES["dmd2"], device, photo_depicts=True)


def _hpsv2(spec: JudgeSpec, device: str) -> Judge:
    from kdbench.models.judges import cosine

    return cosine.open_clip(spec, "ViT-H-14", PREFERENCE, device)


def _pickscore(spec: JudgeSpec, device: str) -> Judge:
    from kdbench.models.judges import cosine
    from kdbench.models.requirements import require

    require("open_clip", extra="images")
    from open_clip import (
        tokenize,  # the words of its authors' processor, which is another repository
    )

    return cosine.openai(spec, None, device, activation="gelu", tokens=tokenize)


def _imagereward(spec: JudgeSpec, device: str) -> Judge:
    from kdbench.models.judges import image_reward

    return image_reward.load(spec, device)


_CUT = "no prefix; cut at 77 tokens, end of text kept"

JUDGES: Mapping[str, JudgeSpec] = {
    spec.name: spec
    for spec in (
        JudgeSpec(
            "clipscore-hessel-b32", "CLIPScore as Hessel et al. (2021) define it", "CLIPScore",
            ("clip-vit-base-patch32",), "OpenAI CLIP ViT-B/32, QuickGELU",
            "'A photo depicts ' before it; cut at 77 tokens, end of text kept", "2.5 max(cos, 0)",
            CLIP, _hessel,
        ),
        JudgeSpec(
            "clipscore-torchmetrics-l14", "CLIPScore as torchmetrics computes it", "CLIPScore",
            ("clip-vit-large-patch14",), "OpenAI CLIP ViT-L/14, QuickGELU",
            "no prefix; cut at 77 tokens, end of text lost", "100 cos", CLIP, _torchmetrics,
        ),
        JudgeSpec(
            "clipscore-sana-l14", "CLIPScore as Sana and Taited/clip-score compute it", "CLIPScore",
            ("clip-vit-large-patch14",), "OpenAI CLIP ViT-L/14, QuickGELU", _CUT,
            f"{OWN_SCALE} x cos", CLIP, _sana,
        ),
        JudgeSpec(
            "clipscore-dmd2-g14", "CLIPScore as DMD2, SiD-LSG and GigaGAN compute it", "cosine",
            ("open-clip-vit-g-14",), "OpenCLIP ViT-g-14 laion2b_s12b_b42k",
            "'A photo depicts' spliced in as three tokens, the 77th forced to end of text", "cos",
            DMD2, _dmd2,
        ),
        JudgeSpec(
            "hpsv2.0", "Human Preference Score v2.0, Wu et al. (2023)", "HPS", ("hpsv2.0",),
            "HPSv2 ViT-H-14", _CUT, "100 cos", PADDED, _hpsv2,
        ),
        JudgeSpec(
            "hpsv2.1", "Human Preference Score v2.1, Wu et al. (2023)", "HPS", ("hpsv2.1",),
            "HPSv2 ViT-H-14", _CUT, "100 cos", PADDED, _hpsv2,
        ),
        JudgeSpec(
            "pickscore", "PickScore, Kirstain et al. (2023)", "PickScore", ("pickscore",),
            "PickScore v1 CLIP ViT-H/14", _CUT, f"{OWN_SCALE} x cos", CLIP, _pickscore,
        ),
        JudgeSpec(
            "imagereward", "ImageReward v1.0, Xu et al. (2023)", "reward",
            ("imagereward", "bert-base-uncased-vocabulary"), "BLIP ViT-L and an MLP",
            "word pieces, cut at 35", "(r - 0.16717) / 1.03334", CLIP, _imagereward,
        ),
    )
}  # fmt: skip
"""Sources, read in their code: jmhessel/clipscore; torchmetrics 1.9 (`clip_score`); Sana, Taited/clip-score;
DMD2 (`coco_evaluator.py`); tgxs002/HPSv2 (`img_score.py`; half precision on a GPU there, float32 here);
yuvalkirstain/PickScore; THUDM/ImageReward (`ImageReward.py`)."""
