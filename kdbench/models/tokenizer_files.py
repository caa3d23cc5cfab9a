"""A tokenizer's files, hashed and judged without loading a tokenizer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from kdbench.errors import ModelError
from kdbench.models.file_hash import digest_of, sha256_of
from kdbench.models.gguf_header import GgufHeader

_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
_SETTINGS = ("special_tokens_map.json", "added_tokens.json")
_CONFIG = "tokenizer_config.json"
_KEPT_SETTINGS = (
    "add_bos_token",
    "add_eos_token",
    "add_prefix_space",
    "bos_token",
    "eos_token",
    "unk_token",
    "clean_up_tokenization_spaces",
    "legacy",
    "model_max_length",
    "tokenizer_class",
)


@dataclass(frozen=True)
class TokenizerFiles:
    """The tokenizer that lies in `folder`."""

    folder: Path

    def check(self) -> None:
        """Raise `ModelError` where the folder holds no tokenizer."""
        if not self.vocabularies():
            raise ModelError(
                f"{self.folder}: no tokenizer ({_VOCABULARIES[0]} or the like); save it there with "
                "`tokenizer.save_pretrained(folder)` or name its folder with `tokenizer`"
            )

    def vocabularies(self) -> list[Path]:
        """The files that hold the vocabulary."""
        tiktoken = sorted(self.folder.glob("*.tiktoken"))
        return [
            *(self.folder / name for name in _VOCABULARIES if (self.folder / name).is_file()),
            *tiktoken,
        ]

    def digest(self) -> str:
        """sha256 of everything that may change how text becomes tokens and back."""
        parts = {file.name: sha256_of(file) for file in self.vocabularies()}
        for name in _SETTINGS:
            if (self.folder / name).is_file():
                parts[name] = _canonical(self._json(name))
        settings = {key: self.config[key] for key in _KEPT_SETTINGS if key in self.config}
        parts[_CONFIG] = _canonical(settings)
        return digest_of(parts)

    def vocabulary_digest(self, add_bos_token: bool | None = None) -> str:
        """sha256 of what turns text into tokens: two saves of one tokenizer agree, whatever version
        saved them and whichever padding or truncation they were saved with.
        """
        if self.fast is None:
            parts = {file.name: sha256_of(file) for file in self.vocabularies()}
            return digest_of({**parts, "add_bos_token": str(add_bos_token)})
        model = {key: held for key, held in self.fast["model"].items() if held not in (None, False)}
        model["merges"] = [
            merge if isinstance(merge, str) else " ".join(merge)
            for merge in model.get("merges") or []
        ]
        kept = {
            key: self.fast.get(key) for key in ("normalizer", "pre_tokenizer", "post_processor")
        }
        added = self.fast.get("added_tokens") or []
        return _canonical({**kept, "model": model, "added": added, "add_bos_token": add_bos_token})

    def largest_id(self) -> int | None:
        """The largest token id, or None where the files don't say without a tokenizer library."""
        if self.fast is not None:
            vocabulary = self.fast["model"].get("vocab") or {}
            if isinstance(vocabulary, dict):
                largest = max(vocabulary.values(), default=-1)
            else:
                largest = len(vocabulary) - 1
            added = (token["id"] for token in self.fast.get("added_tokens") or [])
            return int(max([largest, *added]))
        if (self.folder / "vocab.json").is_file():
            return max((int(token) for token in self._json("vocab.json").values()), default=None)
        return None

    def chat_template(self) -> str | None:
        """sha256 of the chat template or templates; None where there are none."""
        found = {
            file.name: sha256_of(file)
            for file in (
                self.folder / "chat_template.jinja",
                self.folder / "chat_template.json",
                *sorted(self.folder.glob("additional_chat_templates/*.jinja")),
            )
            if file.is_file()
        }
        if not found and self.config.get("chat_template"):
            found[_CONFIG] = _canonical(self.config["chat_template"])
        return digest_of(found) if found else None

    @cached_property
    def fast(self) -> dict[str, Any] | None:
        """tokenizer.json, or None."""
        there = (self.folder / "tokenizer.json").is_file()
        read = self._json("tokenizer.json") if there else None
        return read if read is not None and isinstance(read.get("model"), dict) else None

    @cached_property
    def config(self) -> dict[str, Any]:
        """tokenizer_config.json, or an empty mapping."""
        return self._json(_CONFIG) if (self.folder / _CONFIG).is_file() else {}

    def _json(self, name: str) -> dict[str, Any]:
        place = self.folder / name
        try:
            read = json.loads(place.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{place}: not JSON ({error}); fetch the file again") from error
        if not isinstance(read, dict):
            raise ModelError(f"{place}: expected a JSON object")
        return read


@dataclass(frozen=True)
class GgufTokenizer:
    """The tokenizer inside a GGUF file, answering as `TokenizerFiles` does."""

    header: GgufHeader

    def digest(self) -> str:
        """sha256 of everything that the file says about its tokenizer, its chat template aside."""
        return _canonical(
            {
                key: held
                for key, held in self.header.metadata.items()
                if key.startswith("tokenizer.") and not key.startswith("tokenizer.chat_template")
            }
        )

    def vocabulary_digest(self, add_bos_token: bool | None = None) -> str:
        """The same: a GGUF file names its way of splitting text without describing it, so that it
        can't be compared with a tokenizer.json.
        """
        return digest_of({"gguf": self.digest(), "add_bos_token": str(add_bos_token)})

    def largest_id(self) -> int | None:
        """The largest token id."""
        tokens = self.header.metadata.get("tokenizer.ggml.tokens")
        return len(tokens) - 1 if isinstance(tokens, list) else None

    def chat_template(self) -> str | None:
        """sha256 of the chat template; None where there is none."""
        template = self.header.metadata.get("tokenizer.chat_template")
        return _canonical(template) if template else None


def _canonical(value: Any) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
