"""The adapters that ship with kdbench; importing this module registers them."""

from kdbench.models import callable as callable_target
from kdbench.models import (
    classifier,
    diffusers,
    image_folder,
    openai_api,
    prompt_lookup,
    transformers,
    vllm,
)

__all__ = [
    "callable_target",
    "classifier",
    "diffusers",
    "image_folder",
    "openai_api",
    "prompt_lookup",
    "transformers",
    "vllm",
]
