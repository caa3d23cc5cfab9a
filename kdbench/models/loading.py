"""Loading a causal language model with transformers, and refusing what would answer nonsense."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.causal_lm import CausalLM
from kdbench.models.model_files import ModelFiles, mismatch
from kdbench.models.tokens import TextEncoder, context_length
from kdbench.models.trimmed_head import BIAS, WEIGHT

if TYPE_CHECKING:
    from kdbench.models.transformers import TransformersParams
    from kdbench.models.trimmed_head import TrimmedHead


def load_causal_lm(
    files: ModelFiles,
    params: TransformersParams,
    settings: LoadSettings,
    dtype: str,
    head: TrimmedHead | None = None,
) -> CausalLM:
    """The model in `files`, on its device, in evaluation mode, with its tokenizer.

    Raises `ModelError` where a file is damaged, weights are missing, an architecture is unknown, or
    the tokenizer has tokens that the model has no embedding for.
    """
    tokenizer = _tokenizer(files, params, settings)
    device = torch_device(settings.device)
    model = _model(files, params, settings, dtype, device, trimmed=head is not None)
    if files.peft is not None:
        model = _merged(model, files.peft.at_hand())
    # transformers adds special tokens of its own to a tokenizer from GGUF; `check` has counted the
    # file's.
    if (files.own_tokenizer or files.weights).file is None:
        rows = int(model.get_input_embeddings().weight.shape[0])
        largest = max(tokenizer.get_vocab().values(), default=-1)
        if largest >= rows:
            raise ModelError(mismatch(str(files.weights.at_hand()), largest, rows))
    model.eval()
    if head is not None:
        head.put_on(model)
    length = params.max_length or context_length(model.config, tokenizer)
    encoder = TextEncoder(tokenizer, length, params.add_bos_token)
    return CausalLM(model, encoder, settings.batch_size)


def import_classes(files: ModelFiles, trust_remote_code: bool) -> None:
    """Import the model's class, and what its tokenizer is loaded with; a GGUF file's is known too late."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if files.weights.file is None:
        config = AutoConfig.from_pretrained(
            files.weights.at_hand(), trust_remote_code=trust_remote_code
        )
        MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)


def _tokenizer(files: ModelFiles, params: TransformersParams, settings: LoadSettings) -> Any:
    from transformers import AutoTokenizer

    place = files.own_tokenizer or files.weights
    folder = place.at_hand()
    options: dict[str, Any] = {"trust_remote_code": settings.trust_remote_code}
    if place.file is not None:
        options["gguf_file"] = place.file
    if params.add_bos_token is not None:
        options["add_bos_token"] = params.add_bos_token
    return _loading(
        "tokenizer", folder, settings, lambda: AutoTokenizer.from_pretrained(folder, **options)
    )


def _model(
    files: ModelFiles,
    params: TransformersParams,
    settings: LoadSettings,
    dtype: str,
    device: str,
    trimmed: bool,
) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    folder = files.weights.at_hand()
    options: dict[str, Any] = {
        "dtype": getattr(torch, dtype),
        "trust_remote_code": settings.trust_remote_code,
        "output_loading_info": True,
    }
    if files.weights.file is not None:
        options["gguf_file"] = files.weights.file
    else:
        options["use_safetensors"] = True
    if params.attn_implementation is not None:
        options["attn_implementation"] = params.attn_implementation
    if device != "cpu":
        options["device_map"] = {"": device}
    if trimmed:  # a head of its own size follows; here the model's has that of its vocabulary
        options |= {"ignore_mismatched_sizes": True, "tie_word_embeddings": False}
    # the library would say that the head was filled at random, which does not last
    with _silent("transformers.modeling_utils") if trimmed else nullcontext():
        model, report = _loading(
            "model",
            folder,
            settings,
            lambda: AutoModelForCausalLM.from_pretrained(folder, **options),
        )
    head = {WEIGHT, BIAS} if trimmed else set()
    missing = sorted(set(report["missing_keys"]) - head)
    odd = sorted({key for key, *_ in report["mismatched_keys"]} - head)
    if odd:
        raise ModelError(
            f"{folder}: {', '.join(odd[:3])} has another shape than config.json says; only the head of a "
            "trimmed model may"
        )
    if missing:
        raise ModelError(
            f"{folder}: the weights lack {len(missing)} tensors ({', '.join(missing[:3])}), which "
            "would be filled at random; fetch the model again, or check that config.json belongs "
            "to it"
        )
    return model


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """No warnings of the logger `name` while the block lasts."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _merged(model: Any, folder: Path) -> Any:
    """`model` with the adapter's weights added into its own."""
    from peft import PeftModel
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", framework="pt") as tensors:
        names = [name for name in tensors.keys() if "embed_tokens" in name]  # noqa: SIM118
        shapes = [tensors.get_slice(name).get_shape() for name in names if "lora" not in name]
    rows = max((shape[0] for shape in shapes), default=0)
    if rows > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)
    try:
        return PeftModel.from_pretrained(model, folder).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}: this PEFT adapter does not fit the model ({type(error).__name__}: "
            f"{error}); name the base model that it was trained on"
        ) from error


def torch_device(name: str) -> str:
    """A device that torch has here, `auto` decided; `ModelError` where there is none of the name."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"no device named {name!r}; try cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device {name!r}: torch sees no CUDA here; use device: cpu or auto")
    return name


def _loading(what: str, folder: Path, settings: LoadSettings, load: Any) -> Any:
    from safetensors import SafetensorError

    try:
        return load()
    except (
        OSError,
        ValueError,
        RuntimeError,
        KeyError,
        TypeError,
        AttributeError,
        ImportError,
        AssertionError,
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())
        remedy = "check that its files are complete and that transformers knows its architecture"
        if "trust_remote_code" in reason:
            remedy = "read its code, then set trust_remote_code: true for this model"
        raise ModelError(
            f"{folder}: transformers can't load the {what} ({type(error).__name__}: "
            f"{reason[:400]}); {remedy}"
        ) from error
