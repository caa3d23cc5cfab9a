"""Models that the transformers library loads: a folder, a hub repository or a GGUF file, on CPU or
GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kdbench.errors import ModelError, did_you_mean
from kdbench.models.adapter import AdapterParams
from kdbench.models.local_files import LocalFilesAdapter
from kdbench.models.model_files import ModelFiles
from kdbench.models.protocols import (
    DRAFT_DISTRIBUTIONS,
    FOOTPRINT,
    SCORE_TOKENS,
    SCORE_WINDOWS,
    TIME_TEXT,
)
from kdbench.models.requirements import require
from kdbench.models.trimmed_head import TrimmedHead
from kdbench.registry import adapter

if TYPE_CHECKING:
    from kdbench.models.causal_lm import CausalLM

DTYPES = ("auto", "float32", "float16", "bfloat16", "float64")


class TransformersParams(AdapterParams):
    """`models.<name>` with `adapter: transformers`; paths are relative to the suite's folder."""

    path: str = Field(description="folder, .gguf file, or hf:org/name@revision")
    gguf_file: str | None = Field(None, description="GGUF file inside that folder or repository")
    revision: str | None = Field(None, description="branch, tag or commit of a hub repository")
    tokenizer: str | None = Field(None, description="another place to take the tokenizer from")
    peft: str | None = Field(None, description="PEFT adapter to merge into the weights")
    attn_implementation: str | None = Field(None, description="eager, sdpa, flash_attention_2, ...")
    add_bos_token: bool | None = Field(
        None, description="force a beginning-of-text token on or off; default: the tokenizer's way"
    )
    max_length: int | None = Field(
        None, gt=0, description="tokens of context; default: what the model's configuration says"
    )
    head_tokens: str | None = Field(
        None,
        description="safetensors file with the tokens of a trimmed output head: token_ids, or d2t as "
        "EAGLE-3 has it; the model is then a draft and nothing else",
    )


@adapter("transformers")
class TransformersAdapter(LocalFilesAdapter):
    about = "causal language models in safetensors or GGUF, loaded with transformers"
    Params = TransformersParams
    version: ClassVar[int] = 1
    """Raised when the same files begin to give other numbers."""

    @property
    def files(self) -> ModelFiles:
        """Where everything is that this model is made of."""
        return ModelFiles.parse(
            self.folder,
            self.params.path,
            gguf_file=self.params.gguf_file,
            revision=self.params.revision,
            tokenizer=self.params.tokenizer,
            peft=self.params.peft,
        )

    @property
    def trimmed_head(self) -> TrimmedHead | None:
        """The head with rows for a part of the vocabulary, where the suite says so."""
        if self.params.head_tokens is None:
            return None
        file = self.folder / Path(self.params.head_tokens).expanduser()
        return TrimmedHead(file, self.files.checkpoint())

    def check(self) -> None:
        if self.settings.dtype not in DTYPES:
            near = did_you_mean(self.settings.dtype, list(DTYPES))
            raise ModelError(
                f"no dtype named {self.settings.dtype!r}{near}; one of {', '.join(DTYPES)}"
            )
        if self.params.head_tokens is not None and (self.params.peft or self.files.weights.file):
            raise ModelError(
                "`head_tokens` goes with a folder of safetensors; a PEFT adapter or a GGUF file can't come "
                "with it"
            )
        self.files.check()
        if self.params.head_tokens is not None and not self.downloads():
            assert self.trimmed_head is not None
            self.trimmed_head.tokens()
        require("torch", "transformers", extra="lm")
        if self.params.peft is not None:
            require("peft", extra="peft")
        if self.files.weights.file is not None:
            require("gguf", "accelerate", extra="gguf")

    def verbs(self) -> frozenset[str]:
        if self.params.head_tokens is not None:
            return frozenset({DRAFT_DISTRIBUTIONS, TIME_TEXT, FOOTPRINT})
        return super().verbs() | {SCORE_TOKENS, SCORE_WINDOWS, TIME_TEXT, FOOTPRINT}

    def lacking(self) -> str:
        if self.params.head_tokens is None:
            return ""
        return (
            "its head is trimmed (`head_tokens`), so it has no distribution over the whole vocabulary and "
            "is a draft and nothing else"
        )

    def fingerprint(self) -> dict[str, str]:
        head = self.trimmed_head
        return {
            **super().fingerprint(),
            "adapter": f"{self.name}/{self.version}",
            "attention": self.params.attn_implementation or "default",
            **({"head_tokens": head.digest()} if head is not None else {}),
        }

    def prepare(self) -> None:
        from kdbench.models.loading import import_classes

        import_classes(self.files, self.settings.trust_remote_code)

    def load(self) -> CausalLM:
        from kdbench.models.loading import load_causal_lm

        self.check()
        return load_causal_lm(
            self.files, self.params, self.settings, self.dtype(), self.trimmed_head
        )
