"""Imports what loading a language model needs; processes that are forked behind it have it at once."""

from kdbench.models import torchvision_on_cpu

torchvision_on_cpu.mend()

import safetensors.torch  # noqa: E402, F401
import torch  # noqa: E402, F401
import transformers  # noqa: E402
import transformers.modeling_utils  # noqa: E402

import kdbench.models.builtin  # noqa: E402
import kdbench.models.causal_lm  # noqa: E402
import kdbench.models.loading  # noqa: E402
import kdbench.models.timing.text_run  # noqa: E402, F401

NEEDED = (transformers.AutoModelForCausalLM, transformers.AutoTokenizer)
