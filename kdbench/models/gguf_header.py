"""The head of a GGUF file: its metadata and the shapes of its tensors, read without any library.

Layout: the GGUF specification, version 2 and 3 (little endian): magic, version, counts, then
key/value pairs, then one record for each tensor. The weights themselves are never touched.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from kdbench.errors import ModelError

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_LARGEST_COUNT = 1 << 28


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Metadata by key, and the shape of each tensor by name (fastest dimension first)."""

    metadata: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @property
    def embedding_rows(self) -> int | None:
        shape = self.shapes.get("token_embd.weight")
        return shape[1] if shape is not None and len(shape) == 2 else None


def read_header(path: Path) -> GgufHeader:
    """Read the head of `path`; `ModelError` where it is no GGUF file that this reader knows."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path}: not a GGUF file (it does not begin with 'GGUF')")
        version = _scalar(file, "<I")
        if version not in (2, 3):
            raise ModelError(
                f"{path}: GGUF version {version} (or big endian); convert it to version 3, "
                "little endian"
            )
        try:
            tensors, pairs = _count(file), _count(file)
            metadata = {_string(file): _value(file) for _ in range(pairs)}
            shapes = dict(_tensor(file) for _ in range(tensors))
        except (struct.error, UnicodeDecodeError, KeyError, OverflowError) as error:
            raise ModelError(
                f"{path}: its GGUF header is damaged ({type(error).__name__}: {error}); "
                "fetch the file again"
            ) from error
    return GgufHeader(metadata, shapes)


def _tensor(file: BinaryIO) -> tuple[str, tuple[int, ...]]:
    name = _string(file)
    dimensions = _scalar(file, "<I")
    shape = struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions))
    file.read(4 + 8)
    return name, shape


def _value(file: BinaryIO) -> Any:
    return _typed(file, _scalar(file, "<I"))


def _typed(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _scalar(file, _SCALARS[kind])
    inner, count = _scalar(file, "<I"), _count(file)
    if inner in (_STRING, _ARRAY):
        return [_typed(file, inner) for _ in range(count)]
    layout = f"<{count}{_SCALARS[inner][1]}"
    return list(struct.unpack(layout, file.read(struct.calcsize(layout))))


def _string(file: BinaryIO) -> str:
    length = _count(file)
    data = file.read(length)
    if len(data) < length:
        raise struct.error(f"a text of {length} bytes is cut off")
    return data.decode("utf-8", errors="surrogateescape")


def _count(file: BinaryIO) -> int:
    count = int(_scalar(file, "<Q"))
    if count > _LARGEST_COUNT:
        raise OverflowError(f"a count of {count}")
    return count


def _scalar(file: BinaryIO, layout: str) -> Any:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))[0]
