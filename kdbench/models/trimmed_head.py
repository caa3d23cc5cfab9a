"""Drafts whose output head has rows for a part of the vocabulary alone, and the tokens that these mean.

A draft need not propose rare tokens, and a head without them is smaller and faster (FR-Spec, VocabTrim, the
draft vocabulary of EAGLE-3). Logits are spread over the whole vocabulary again, minus infinity where the head
has no row, so that a token outside of it has the probability 0 and nobody else has to know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.checkpoint import Checkpoint

if TYPE_CHECKING:
    import numpy.typing as npt

OFFSETS, TOKENS = "d2t", "token_ids"
WEIGHT, BIAS = "lm_head.weight", "lm_head.bias"


@dataclass(frozen=True, slots=True)
class TrimmedHead:
    """The head of the model in `checkpoint`, and the file that says which tokens its rows mean.

    The file is in safetensors and holds a vector of integers, one for each row: `token_ids`, the tokens
    themselves, or `d2t`, what is added to a row's number to give its token (EAGLE-3's way).
    """

    file: Path
    checkpoint: Checkpoint

    def tokens(self) -> list[int]:
        """The token that each row of the head stands for.

        Raises `ModelError` for a file that says no such thing, or not of this head.
        """
        vector = self._vector()
        rows, vocabulary = self._rows(), self.checkpoint.vocabulary()
        if len(vector) != rows:
            raise ModelError(
                f"{self.file}: names {len(vector)} tokens, and the head ({WEIGHT}) has {rows} rows; it must "
                "name one for each row, in their order"
            )
        tokens: list[int] = vector.tolist()
        if vocabulary is not None and not 0 <= min(tokens) <= max(tokens) < vocabulary:
            wrong = next(token for token in tokens if not 0 <= token < vocabulary)
            raise ModelError(
                f"{self.file}: row {tokens.index(wrong)} of the head would be the token {wrong}, and the "
                f"vocabulary has tokens 0 to {vocabulary - 1}"
            )
        if len(set(tokens)) < rows:
            again = next(token for token, count in Counter(tokens).items() if count > 1)
            raise ModelError(f"{self.file}: several rows of the head are the token {again}")
        return tokens

    def digest(self) -> str:
        """sha256 of the tokens in the order of their rows, however the file says them."""
        return sha256(" ".join(map(str, self.tokens())).encode()).hexdigest()

    def put_on(self, model: Any) -> None:
        """Give `model` (transformers) this head in place of the one that it was loaded with.

        Raises `ModelError` for an architecture that does something else to its logits than ask the head.
        """
        import torch
        from safetensors import safe_open

        parts = {}
        for name in (WEIGHT, BIAS):
            file = self.checkpoint.tensor_files().get(name)
            if file is not None:
                with safe_open(file, framework="pt") as tensors:
                    parts[name] = tensors.get_tensor(name)
        head = spread_head(
            parts[WEIGHT],
            parts.get(BIAS),
            self.tokens(),
            model.get_input_embeddings().num_embeddings,
        )
        model.set_output_embeddings(head.to(dtype=model.dtype, device=model.device))
        with torch.inference_mode():
            ids = torch.zeros((1, 1), dtype=torch.long, device=model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, 0]
        proposed = torch.isfinite(logits).nonzero()[:, 0].tolist()
        if len(logits) != head.vocabulary or proposed != sorted(self.tokens()):
            raise ModelError(
                f"{type(model).__name__} changes the logits of its head (soft caps, say), so that tokens "
                "without a row would be proposed too; a trimmed head can't be measured with it"
            )

    def _rows(self) -> int:
        shape = self.checkpoint.shapes().get(WEIGHT)
        if shape is None:
            raise ModelError(
                f"{self.checkpoint.folder}: `head_tokens` is given, and the weights have no head of their "
                f"own ({WEIGHT}); a model whose head is its embedding is not trimmed"
            )
        return shape[0]

    def _vector(self) -> npt.NDArray[Any]:
        from safetensors import SafetensorError, safe_open

        if not self.file.is_file():
            raise ModelError(f"`head_tokens`: no file {self.file}")
        try:
            with safe_open(self.file, framework="numpy") as tensors:
                names = {OFFSETS, TOKENS} & set(tensors.keys())
                if len(names) != 1:
                    which = "both" if names else "neither"
                    raise ModelError(
                        f"{self.file}: holds {which} of {TOKENS} (tokens) and {OFFSETS} (offsets); it must "
                        "hold one of them"
                    )
                (name,) = names
                vector = tensors.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{self.file}: not a safetensors file ({error})") from error
        if vector.ndim != 1 or not len(vector) or vector.dtype.kind not in "iu":
            raise ModelError(
                f"{self.file}: {name} must be a vector of integers, and is {vector.dtype} of the shape "
                f"{list(vector.shape)}"
            )
        found: npt.NDArray[Any] = vector.astype("int64")
        return found + range(len(found)) if name == OFFSETS else found


def spread_head(weight: Any, bias: Any, tokens: Sequence[int], vocabulary: int) -> Any:
    """A torch module: the linear layer of `weight` [rows, size] (and `bias` [rows], or None), its outputs
    at `tokens` of `vocabulary` and minus infinity elsewhere."""
    import torch

    class SpreadHead(torch.nn.Linear):
        tokens: torch.Tensor

        def __init__(self) -> None:
            super().__init__(weight.shape[1], weight.shape[0], bias is not None, device="meta")
            self.weight = torch.nn.Parameter(weight, requires_grad=False)
            if bias is not None:
                self.bias = torch.nn.Parameter(bias, requires_grad=False)
            self.vocabulary = vocabulary
            self.register_buffer("tokens", torch.tensor(list(tokens)), persistent=False)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            logits = super().forward(hidden)
            spread = logits.new_full((*logits.shape[:-1], self.vocabulary), -torch.inf)
            return spread.index_copy_(-1, self.tokens, logits)

    return SpreadHead()
