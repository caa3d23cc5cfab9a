"""CLIP-like encoders of images and texts: Hugging Face's class for OpenAI's weights, open_clip's for others.

OpenAI's CLIP was trained with QuickGELU. Its Hugging Face configurations say so; open_clip forgets it from
2.29 on for `ViT-L-14` with `pretrained="openai"`, and scores move by points. So OpenAI's weights are only
read through Hugging Face here, and weights whose activation is not the expected one are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kdbench.errors import ModelError
from kdbench.models.encoders.encoder import CLIP_MEAN, CLIP_STD, normalised
from kdbench.models.requirements import require
from kdbench.models.resizing import DIALECTS, Resize

if TYPE_CHECKING:
    import torch

CONTEXT = 77
END_OF_TEXT = 49407
BATCH = 64

Cut = Literal["end of text kept", "bare"]
"""How a text of more tokens than the context is cut: so that it ends in the end-of-text token, as OpenAI
does, or wherever the context ends, as torchmetrics does."""


class _TextImage:
    """What both have in common; subclasses turn normalised pixels and token ids into features."""

    name: str
    dimension: int
    resize: Resize
    device: str
    digest: str

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features [N, dimension] of pixels [N, 3, S, S] in 0..255, as `resize` makes them."""
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(pixels), BATCH):
                part = pixels[start : start + BATCH].to(self.device)
                found.append(self._image(normalised(part, CLIP_MEAN, CLIP_STD)).float().cpu())
        return torch.cat(found)

    def encode_text(self, prompts: Sequence[str]) -> torch.Tensor:
        """Features [N, dimension] of texts; equal texts are encoded once."""
        import torch

        distinct = list(dict.fromkeys(prompts))
        found: dict[str, torch.Tensor] = {}
        with torch.inference_mode():
            for start in range(0, len(distinct), BATCH):
                part = distinct[start : start + BATCH]
                found |= dict(zip(part, self._text(part).float().cpu(), strict=True))
        return torch.stack([found[prompt] for prompt in prompts])

    def protocol(self) -> dict[str, str]:
        """What the features depend on."""
        return {
            "encoder": self.name,
            "weights": self.digest,
            "resize": self.resize.protocol(),
            "normalise": "CLIP",
            "dtype": "float32",
        }

    def _image(self, pixels: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _text(self, prompts: list[str]) -> torch.Tensor:
        raise NotImplementedError


class HuggingFaceClip(_TextImage):
    """`transformers.CLIPModel` with the tokenizer in its folder, or with another."""

    def __init__(
        self,
        folder: Path,
        name: str,
        digest: str,
        *,
        activation: str = "quick_gelu",
        cut: Cut = "end of text kept",
        tokens: Callable[[Sequence[str]], torch.Tensor] | None = None,
        resize: Resize = DIALECTS["clip"],
        device: str = "cpu",
    ) -> None:
        """Read the weights in `folder`; `digest` is their sha256. `tokens` makes ids [N, 77], padded
        behind the end of the text, where the folder has no tokenizer; `cut` is then its own affair.

        Raises `ModelError` where the folder holds no CLIP, or one of another activation than `activation`.
        """
        require("transformers", "torch", "torchvision", extra="images")
        import transformers

        try:
            model: Any = transformers.CLIPModel.from_pretrained(folder, local_files_only=True)
            self.tokenizer: Any = (
                transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
                if tokens is None
                else None
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ModelError(f"{folder}: no CLIP of Hugging Face can be read ({error})") from error
        _check_activation(
            folder, {model.config.text_config.hidden_act, model.config.vision_config.hidden_act},
            activation,
        )  # fmt: skip
        self.model = model.float().eval().to(device)
        self.name, self.digest, self.cut, self.tokens = name, digest, cut, tokens
        self.resize, self.device = resize, device
        self.dimension = int(model.config.projection_dim)

    @property
    def logit_scale(self) -> float:
        """What the model multiplies cosines by; 100 for OpenAI's."""
        return float(self.model.logit_scale.detach().exp())

    def _image(self, pixels: torch.Tensor) -> torch.Tensor:
        return _pooled(self.model.get_image_features(pixel_values=pixels))

    def _text(self, prompts: list[str]) -> torch.Tensor:
        if self.tokens is not None:
            ids = self.tokens(prompts).to(self.device)
            return _pooled(self.model.get_text_features(input_ids=ids))
        context = self.model.config.text_config.max_position_embeddings
        kept: dict[str, Any] = (
            {} if self.cut == "bare" else {"truncation": True, "max_length": context}
        )
        tokens = self.tokenizer(prompts, padding=True, return_tensors="pt", **kept)
        ids = tokens["input_ids"][:, :context].to(self.device)
        mask = tokens["attention_mask"][:, :context].to(self.device)
        return _pooled(self.model.get_text_features(input_ids=ids, attention_mask=mask))


class OpenClip(_TextImage):
    """A model of open_clip by its configuration's name, with open_clip's own tokenizer."""

    def __init__(
        self,
        weights: Path,
        architecture: str,
        name: str,
        digest: str,
        *,
        quick_gelu: bool = False,
        tokens: Callable[[Sequence[str]], torch.Tensor] | None = None,
        resize: Resize = DIALECTS["clip"],
        device: str = "cpu",
    ) -> None:
        """Read the state dict in `weights`; `tokens` makes ids [N, 77] where open_clip's own won't do.

        Raises `ModelError` where the weights don't fit `architecture`.
        """
        require("open_clip", "torch", "torchvision", extra="images")
        import open_clip

        try:
            model = open_clip.create_model(
                architecture,
                pretrained=str(weights),
                force_quick_gelu=quick_gelu,
                weights_only=True,
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AssertionError) as error:
            raise ModelError(f"{weights}: not the weights of {architecture} ({error})") from error
        _check_activation(weights, activations(model), "quick_gelu" if quick_gelu else "gelu")
        self.model = model.float().eval().to(device)
        self.tokens = tokens or open_clip.get_tokenizer(architecture)
        self.name, self.digest = name, digest
        self.resize, self.device = resize, device
        self.dimension = int(model.text_projection.shape[1])

    @property
    def logit_scale(self) -> float:
        """What the model multiplies cosines by."""
        return float(self.model.logit_scale.detach().exp())

    def _image(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model.encode_image(pixels)
        return found

    def _text(self, prompts: list[str]) -> torch.Tensor:
        found: torch.Tensor = self.model.encode_text(self.tokens(prompts).to(self.device))
        return found


def photo_depicts(prompts: Sequence[str]) -> torch.Tensor:
    """Token ids [N, 77] as DMD2 and GigaGAN make them.

    The three tokens of "A photo depicts" are put behind the start of the text, and what then stands in
    the last place, if anything, becomes the end-of-text token.

    Source: DMD2, `coco_evaluator.py` (`compute_clip_score`).
    """
    import open_clip
    import torch

    tokens = open_clip.tokenize(list(prompts))
    prefix = open_clip.tokenize(["A photo depicts "])[:, 1:4].expand(len(tokens), -1)
    spliced = torch.cat([tokens[:, :1], prefix, tokens[:, 1:]], dim=1)[:, :CONTEXT]
    last = spliced[:, -1]
    last[last > 0] = END_OF_TEXT
    return spliced


def activations(model: Any) -> set[str]:
    """Names of the activations inside a model of open_clip: `gelu`, `quick_gelu`."""
    kinds = {type(module).__name__ for module in model.modules()}
    return {name for kind, name in (("GELU", "gelu"), ("QuickGELU", "quick_gelu")) if kind in kinds}


def _check_activation(place: Path, found: set[str], expected: str) -> None:
    if found != {expected}:
        raise ModelError(
            f"{place}: the model's activation is {' and '.join(sorted(found)) or 'unknown'}, but its "
            f"weights were trained with {expected}; scores would be wrong"
        )


def _pooled(found: Any) -> torch.Tensor:
    """Features as transformers gives them: a tensor before version 5, an output with a field since."""
    features: torch.Tensor = getattr(found, "pooler_output", found)
    return features
