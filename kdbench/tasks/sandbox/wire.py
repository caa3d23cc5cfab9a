"""Messages between judge and candidate: length, then JSON; values as plain data of built-in types.

Both ends import this file and nothing else of kdbench: it is copied into the room.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

LARGEST = 8 << 20
"""Bytes of the largest message."""

_BIG = 1 << 64


class WireError(Exception):
    """The other end does not keep to the protocol, or has gone."""


def send(channel: int, message: Any) -> None:
    data = json.dumps(message).encode()
    if len(data) > LARGEST:
        raise WireError(f"a value of more than {LARGEST >> 20} MiB")
    whole = memoryview(len(data).to_bytes(4, "big") + data)
    while whole:
        whole = whole[os.write(channel, whole) :]


def receive(channel: int) -> Any:
    """The next message. Raises `WireError` where there is none, or one that can't be read."""
    size = int.from_bytes(_exactly(channel, 4), "big")
    if size > LARGEST:
        raise WireError(f"a message of more than {LARGEST >> 20} MiB")
    try:
        return json.loads(_exactly(channel, size))
    except (ValueError, RecursionError) as error:
        raise WireError("a message that is not JSON") from error


def _exactly(channel: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(channel, min(size, 1 << 16))
        if not part:
            raise WireError("the other end has gone")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def encode(value: Any, keep: Callable[[Any], Any]) -> Any:
    """`value` as JSON: kinds of containers are kept, subclasses become their built-in base.

    `keep` makes something of a value that is not data (a reference, or an error).
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if -_BIG < value < _BIG else {"int": hex(value)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {type(value).__name__: value.decode("latin-1")}
    if isinstance(value, dict):
        pairs = dict.items(value)
        return {"dict": [[encode(key, keep), encode(part, keep)] for key, part in pairs]}
    kinds: tuple[Any, ...] = (list, tuple, set, frozenset, deque)
    for kind in kinds:
        if isinstance(value, kind):
            return {kind.__name__: [encode(part, keep) for part in kind.__iter__(value)]}
    if isinstance(value, range):
        return {"range": [value.start, value.stop, value.step]}
    for module, name in (("fractions", "Fraction"), ("decimal", "Decimal")):
        if module in sys.modules and isinstance(value, getattr(sys.modules[module], name)):
            return {name: str(value)}
    return keep(value)


def decode(value: Any, kept: Callable[[Any], Any]) -> Any:
    """What `encode` made; `kept` gives what a reference stands for. Raises `WireError` for anything else."""
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise WireError("a bare list")
        return value
    try:
        ((kind, content),) = value.items()
        return _decoded(kind, content, kept)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as error:
        raise WireError(f"no value: {error}") from error


def _decoded(kind: str, content: Any, kept: Callable[[Any], Any]) -> Any:
    if kind in _CONTAINERS:
        return _CONTAINERS[kind](decode(part, kept) for part in content)
    if kind == "dict":
        return {decode(key, kept): decode(part, kept) for key, part in content}
    if kind == "int":
        return int(content, 16)
    if kind == "complex":
        return complex(*content)
    if kind in ("bytes", "bytearray"):
        data = content.encode("latin-1")
        return bytearray(data) if kind == "bytearray" else data
    if kind == "range":
        return range(*content)
    if kind == "Fraction":
        from fractions import Fraction

        return Fraction(content)
    if kind == "Decimal":
        from decimal import Decimal

        return Decimal(content)
    if kind == "kept":
        return kept(content)
    raise WireError(f"no kind of value {kind!r}")


_CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": deque,
}
