"""A model's files, judged and hashed without loading them: weights, configuration, tokenizer,
template.

Two kinds are known: a folder as `save_pretrained` writes it, with its weights in safetensors, and a
single GGUF file. Pickled weights are refused: reading them can run any code.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from kdbench.errors import ModelError, did_you_mean
from kdbench.models.file_hash import digest_of, sha256_of
from kdbench.models.gguf_header import GgufHeader, read_header
from kdbench.models.tokenizer_files import GgufTokenizer, TokenizerFiles

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_NOT_CONTENT = frozenset(
    {
        "_name_or_path",
        "name_or_path",
        "_from_model_config",
        "_commit_hash",
        "transformers_version",
        "_diffusers_version",
        "dtype",
        "torch_dtype",
    }
)
_TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Checkpoint:
    """The files of one model: `folder`, and the name of a GGUF file in it where there is one."""

    folder: Path
    gguf: str | None = None

    def check(self) -> None:
        """Raise `ModelError` for a folder that no causal language model can be loaded from."""
        if self.gguf is None:
            self._check_architecture()
        self.weight_files()
        if self.gguf is not None:
            return
        if self.config.get("num_hidden_layers") == 1 and "fc.weight" in self.shapes():
            raise ModelError(_eagle(self.folder, "one layer behind fc.weight"))
        if self.config.get("is_encoder_decoder"):
            raise ModelError(
                f"{self.folder}: an encoder-decoder model ({self.config.get('model_type')}); "
                "this adapter speaks with decoder-only models"
            )

    @cached_property
    def header(self) -> GgufHeader:
        """The GGUF file's head."""
        return read_header(self.weight_files()[0])

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json; empty for a GGUF file, which has none."""
        if self.gguf is not None:
            return {}
        self._check_config()
        return read_json(self.folder / "config.json")

    def weight_files(self) -> list[Path]:
        """The files that hold the weights, all of them there; `ModelError` otherwise."""
        if self.gguf is not None:
            place = self.folder / self.gguf
            if not place.is_file():
                near = did_you_mean(place.name, [file.name for file in self.folder.glob("*.gguf")])
                raise ModelError(f"{place}: no such file{near}")
            return [place]
        self._check_config()
        if (self.folder / _INDEX).is_file():
            return self._shards()
        if (self.folder / _SINGLE).is_file():
            return [self.folder / _SINGLE]
        pickled = sorted(file.name for pattern in _PICKLES for file in self.folder.glob(pattern))
        if pickled:
            raise ModelError(
                f"{self.folder}: its weights are pickled ({pickled[0]}), and reading a pickle can "
                "run any code; load it where you trust it and write safetensors with "
                "`model.save_pretrained(folder)`"
            )
        raise ModelError(
            f"{self.folder}: no weights; expected {_SINGLE} or {_INDEX} "
            "(name a GGUF file with `gguf_file`)"
        )

    def weights_digest(self) -> str:
        """sha256 over the weight files' names and contents."""
        if self.gguf is not None:
            return sha256_of(self.weight_files()[0])
        return digest_of({file.name: sha256_of(file) for file in self.weight_files()})

    def config_digest(self) -> str:
        """sha256 of config.json without what does not change an answer (names, versions, dtype)."""
        return content_digest(self.config)

    def generation_digest(self) -> str:
        """Likewise for generation_config.json, which sets penalties and ends of text."""
        place = self.folder / "generation_config.json"
        there = self.gguf is None and place.is_file()
        return content_digest(read_json(place) if there else {})

    def code_digest(self) -> str:
        """sha256 over the Python files that lie beside the weights (remote code)."""
        return digest_of({file.name: sha256_of(file) for file in self.folder.glob("*.py")})

    def dtype(self) -> str:
        """The weights' dtype as stored, by its torch name; GGUF is dequantised to float32."""
        if self.gguf is not None:
            return "float32"
        for config in (self.config, self.config.get("text_config") or {}):
            named = config.get("dtype") or config.get("torch_dtype")
            if isinstance(named, str):
                return named.removeprefix("torch.")
        for kind in _tensor_dtypes(self.weight_files()[0]):
            if kind in _TORCH_NAMES:
                return _TORCH_NAMES[kind]
        return "float32"

    def parameters(self) -> int:
        """Numbers in the weight files, from their headers."""
        if self.gguf is not None:
            return sum(math.prod(shape) for shape in self.header.shapes.values())
        return sum(tensor_elements(file) for file in self.weight_files())

    def shapes(self) -> dict[str, list[int]]:
        """Shapes of the tensors in safetensors, by name."""
        return {
            name: tensor["shape"] for file in self.weight_files() for name, tensor in _tensors(file)
        }

    def tensor_files(self) -> dict[str, Path]:
        """The safetensors file that each tensor lies in."""
        return {name: file for file in self.weight_files() for name, _ in _tensors(file)}

    def vocabulary(self) -> int | None:
        """How many tokens the weights know: the rows of the embedding."""
        if self.gguf is not None:
            return self.header.embedding_rows
        size = (self.config.get("text_config") or {}).get("vocab_size") or self.config.get(
            "vocab_size"
        )
        return int(size) if isinstance(size, int) else None

    def tokenizer(self) -> TokenizerFiles | GgufTokenizer:
        """The tokenizer that comes with the weights; `ModelError` where there is none."""
        if self.gguf is None:
            files = TokenizerFiles(self.folder)
            files.check()
            return files
        tokenizer = GgufTokenizer(self.header)
        if tokenizer.largest_id() is None:
            raise ModelError(
                f"{self.folder / self.gguf}: the file has no tokenizer; name a folder that has it "
                "with `tokenizer`"
            )
        return tokenizer

    def _check_architecture(self) -> None:
        """What config.json calls itself decides before the weights, which may lie there pickled."""
        config = self.config
        told = [*(config.get("architectures") or []), config.get("speculators_model_type") or ""]
        named = next((name for name in map(str, told) if "eagle" in name.lower()), None)
        if named is not None:
            raise ModelError(_eagle(self.folder, named))

    def _check_config(self) -> None:
        if not (self.folder / "config.json").is_file():
            raise ModelError(
                f"{self.folder}: no config.json; a model's folder holds config.json, "
                f"{_SINGLE} and its tokenizer"
            )

    def _shards(self) -> list[Path]:
        index = read_json(self.folder / _INDEX)
        names = sorted(set((index.get("weight_map") or {}).values()))
        missing = [name for name in names if not (self.folder / name).is_file()]
        if missing or not names:
            raise ModelError(
                f"{self.folder / _INDEX}: {len(missing)} of {len(names)} weight files are missing "
                f"({', '.join(missing[:3])}); fetch the model again"
            )
        return [self.folder / name for name in names]


@dataclass(frozen=True)
class PeftFiles:
    """A folder with an adapter as `peft` saves it."""

    folder: Path

    def check(self) -> None:
        """Raise `ModelError` where the adapter or its safetensors are missing."""
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            if not (self.folder / name).is_file():
                raise ModelError(
                    f"{self.folder}: no {name}; save the adapter with "
                    "`model.save_pretrained(folder)` of peft (safetensors)"
                )

    def digest(self) -> str:
        """sha256 of the adapter's weights and of how they apply, not of where its base lay."""
        config = read_json(self.folder / "adapter_config.json")
        config.pop("base_model_name_or_path", None)
        return digest_of(
            {
                "weights": sha256_of(self.folder / "adapter_model.safetensors"),
                "config": content_digest(config),
            }
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; `ModelError` where the file holds anything else."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: not JSON ({error}); fetch the file again") from error
    if not isinstance(read, dict):
        raise ModelError(f"{path}: expected a JSON object")
    return read


def content_digest(config: dict[str, Any]) -> str:
    """sha256 of a configuration without the keys that never change an answer."""
    return sha256(json.dumps(_content(config), sort_keys=True).encode()).hexdigest()


def _content(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _content(held) for key, held in value.items() if key not in _NOT_CONTENT}
    return [_content(held) for held in value] if isinstance(value, list) else value


def _eagle(folder: Path, what: str) -> str:
    return (
        f"{folder}: an EAGLE head ({what}): it drafts from the target's hidden states, and drafts here read "
        "tokens alone; run it in its own engine and read the answers with `kdbench import`"
    )


def _tensors(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and description of each tensor in a safetensors file: 8 bytes of header length, then a JSON
    header."""
    with file.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 0 < length < file.stat().st_size:
            raise ModelError(f"{file}: not a safetensors file; fetch it again")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise ModelError(f"{file}: not a safetensors file; fetch it again") from error
    for name, tensor in header.items():
        if name != "__metadata__":
            yield name, tensor


def _tensor_dtypes(file: Path) -> Iterator[str]:
    """Dtypes in the file's order."""
    return (tensor["dtype"] for _, tensor in _tensors(file))


def tensor_elements(file: Path) -> int:
    """Numbers in all tensors of a safetensors file."""
    return sum(math.prod(tensor["shape"]) for _, tensor in _tensors(file))
