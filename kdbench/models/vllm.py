"""Models that vLLM loads, through lm-eval's own backend for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from kdbench.models.adapter import AdapterParams
from kdbench.models.local_files import LocalFilesAdapter
from kdbench.models.model_files import ModelFiles
from kdbench.models.requirements import require
from kdbench.registry import adapter

if TYPE_CHECKING:
    from kdbench.models.lm_eval_bridge import LmEvalModel


class VllmParams(AdapterParams):
    """`models.<name>` with `adapter: vllm`; paths are relative to the suite's folder."""

    path: str = Field(description="folder or hf:org/name@revision")
    revision: str | None = Field(None, description="branch, tag or commit of a hub repository")
    tokenizer: str | None = Field(None, description="another place to take the tokenizer from")
    add_bos_token: bool | None = None
    max_length: int | None = Field(None, gt=0, description="tokens of context")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share the model")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of the GPU's memory")


@adapter("vllm")
class VllmAdapter(LocalFilesAdapter):
    about = (
        "causal language models in vLLM, through lm-eval's backend (NVIDIA GPU needed; kdbench's "
        "tests cover the bridge to lm-eval, not vLLM itself)"
    )
    Params = VllmParams

    @property
    def files(self) -> ModelFiles:
        """Where everything is that this model is made of."""
        return ModelFiles.parse(
            self.folder,
            self.params.path,
            revision=self.params.revision,
            tokenizer=self.params.tokenizer,
        )

    def check(self) -> None:
        self.files.check()
        require("vllm", "lm_eval", extra="vllm")

    def fingerprint(self) -> dict[str, str]:
        parallel = str(self.params.tensor_parallel_size)
        return {**super().fingerprint(), "tensor_parallel_size": parallel}

    def load(self) -> LmEvalModel:
        from lm_eval.models.vllm_causallms import VLLM

        from kdbench.models.lm_eval_bridge import LmEvalModel

        self.check()
        tokenizer = self.files.own_tokenizer
        lm = VLLM(
            pretrained=str(self.files.weights.at_hand()),
            tokenizer=str(tokenizer.at_hand()) if tokenizer else None,
            dtype=self.dtype(),
            trust_remote_code=self.settings.trust_remote_code,
            add_bos_token=self.params.add_bos_token,
            max_model_len=self.params.max_length,
            tensor_parallel_size=self.params.tensor_parallel_size,
            gpu_memory_utilization=self.params.gpu_memory_utilization,
            batch_size=self.settings.batch_size or "auto",
        )
        return LmEvalModel(lm, seed_key="seed")
