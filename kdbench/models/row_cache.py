"""A key/value cache whose rows come and go while a batch is decoded.

Every row ends at the right edge and is padded on its left, so two batches become one by padding the
narrower. Layers of models with a sliding window keep everything too: their masks count columns, and a
row has no gap that its window could meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from kdbench.models.prefix_cache import Layers

_SPARE = 64
"""Columns that a layer grows by: a step then writes its own column and copies none."""


def empty_cache(prefix: Layers | None = None, rows: int = 1) -> Any:
    """A transformers cache of layers that can be narrowed and joined; each of its `rows` begins with
    `prefix`, keys and values [1, heads, tokens, size] of each layer, where one is given."""
    from transformers.cache_utils import Cache

    layer_class = _layer_class()
    if prefix is None:
        return Cache(layer_class_to_replicate=layer_class)
    layers = []
    for keys, values in prefix:
        layer = layer_class()
        layer.hold(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
        layers.append(layer)
    return Cache(layers=layers)


def narrow(cache: Any, rows: torch.Tensor, columns: torch.Tensor | None) -> None:
    """Keep `rows` (int64) of `cache`, and `columns` where they are given."""
    for layer in cache.layers:
        keys, values = layer.keys[rows], layer.values[rows]
        if columns is not None:
            keys, values = keys[:, :, columns], values[:, :, columns]
        layer.hold(keys, values)


def join(cache: Any, other: Any) -> None:
    """Put the rows of `other` below those of `cache`."""
    import torch

    for layer, more in zip(cache.layers, other.layers, strict=True):
        both = []
        for one, two in ((layer.keys, more.keys), (layer.values, more.values)):
            width = max(one.shape[-2], two.shape[-2])
            shape = (len(one) + len(two), one.shape[1], width + _SPARE, one.shape[-1])
            room = torch.empty(shape, dtype=one.dtype, device=one.device)
            for start, part in ((0, one), (len(one), two)):
                rows, gap = room[start : start + len(part)], width - part.shape[-2]
                rows[:, :, :gap] = 0  # masked, and no accidental NaN
                rows[:, :, gap:width] = part
            both.append(room)
        layer.hold(*both, length=width)
        more.keys = more.values = None


def _layer_class() -> Any:
    import torch
    from transformers.cache_utils import DynamicLayer

    class Rows(DynamicLayer):  # type: ignore[no-untyped-call]
        """`keys` and `values` are views of the filled part of longer buffers."""

        def hold(self, keys: Any, values: Any, length: int | None = None) -> None:
            if not self.is_initialized:
                self.lazy_initialization(keys, values)
            self._keys, self._values = keys, values
            self._show(keys.shape[-2] if length is None else length)

        def _show(self, length: int) -> None:
            self.keys, self.values = self._keys[:, :, :length], self._values[:, :, :length]

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.hold(key_states, value_states)
                return key_states, value_states
            assert self.keys is not None
            before = self.keys.shape[-2]
            after = before + key_states.shape[-2]
            if after > self._keys.shape[-2]:
                self._keys = _longer(self._keys, before, after + _SPARE)
                self._values = _longer(self._values, before, after + _SPARE)
            self._keys[:, :, before:after] = key_states
            self._values[:, :, before:after] = value_states
            self._show(after)
            return self.keys, self.values

    def _longer(old: torch.Tensor, filled: int, length: int) -> torch.Tensor:
        new = torch.empty(
            (*old.shape[:2], length, old.shape[-1]), dtype=old.dtype, device=old.device
        )
        new[:, :, :filled] = old[:, :, :filled]
        return new

    return Rows
