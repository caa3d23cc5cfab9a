"""The adapters that ship with kdbench; importing this module registers them."""

from kdbench.models import callable as callable_target
from kdbench.models import openai_api, transformers, vllm

__all__ = ["callable_target", "openai_api", "transformers", "vllm"]
