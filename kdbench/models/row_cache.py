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


def token_bytes(model: Any) -> int | None:
    """Bytes of a token's keys and values in all layers of a transformers `model`; None where its
    configuration does not say."""
    config = model.config.get_text_config()
    names = ("num_hidden_layers", "num_attention_heads", "hidden_size")
    layers, heads, width = (getattr(config, name, None) for name in names)
    if not (layers and heads and width):
        return None
    size = getattr(config, "head_dim", None) or width // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * layers * kept * size * model.dtype.itemsize)


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


def keep(cache: Any, count: int, sources: torch.Tensor, places: torch.Tensor) -> None:
    """Keep `count` rows: those at `sources` go to `places`, and all behind `count` is forgotten. Both are
    int64; buffers stay as they are, for rows that join."""
    for layer in cache.layers:
        layer.keep(count, sources, places)


def pick(cache: Any, columns: torch.Tensor) -> None:
    """Keep `columns` (int64) of `cache`."""
    for layer in cache.layers:
        layer.hold(layer.keys[:, :, columns], layer.values[:, :, columns])


def join(cache: Any, other: Any) -> None:
    """Put the rows of `other` below those of `cache`."""
    for layer, more in zip(cache.layers, other.layers, strict=True):
        layer.join(more.keys, more.values)
        more.keys = more.values = None


def _layer_class() -> Any:
    import torch
    from transformers.cache_utils import DynamicLayer

    class Rows(DynamicLayer):  # type: ignore[no-untyped-call]
        """`keys` and `values` are views of the filled part of larger buffers."""

        def hold(self, keys: Any, values: Any) -> None:
            if not self.is_initialized:
                self.lazy_initialization(keys, values)
            self._keys, self._values = keys, values
            self._show(len(keys), keys.shape[-2])

        def _show(self, rows: int, length: int) -> None:
            self.keys = self._keys[:rows, :, :length]
            self.values = self._values[:rows, :, :length]

        def keep(self, count: int, sources: torch.Tensor, places: torch.Tensor) -> None:
            assert self.keys is not None and self.values is not None
            if len(sources):
                for part in (self.keys, self.values):
                    part[places] = part[sources]
            self._show(count, self.keys.shape[-2])

        def join(self, keys: torch.Tensor, values: torch.Tensor) -> None:
            assert self.keys is not None
            rows, length = len(self.keys), self.keys.shape[-2]
            total, width = rows + len(keys), max(length, keys.shape[-2])
            if width > length or total > len(self._keys):
                self._keys = _roomier(self.keys, total, width - length, width + _SPARE)
                self._values = _roomier(self.values, total, width - length, width + _SPARE)
            gap = width - keys.shape[-2]
            for buffer, part in ((self._keys, keys), (self._values, values)):
                buffer[rows:total, :, :gap] = 0  # masked, and no accidental NaN
                buffer[rows:total, :, gap:width] = part
            self._show(total, width)

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.hold(key_states, value_states)
                return key_states, value_states
            assert self.keys is not None
            rows, before = len(self.keys), self.keys.shape[-2]
            after = before + key_states.shape[-2]
            if after > self._keys.shape[-2]:
                self._keys = _roomier(self.keys, rows, 0, after + _SPARE)
                self._values = _roomier(self.values, rows, 0, after + _SPARE)
            self._keys[:rows, :, before:after] = key_states
            self._values[:rows, :, before:after] = value_states
            self._show(rows, after)
            return self.keys, self.values

    def _roomier(old: Any, rows: int, gap: int, columns: int) -> torch.Tensor:
        """A buffer of `rows` and `columns` that begins with `old` behind a masked gap."""
        new = torch.empty(
            (rows, old.shape[1], columns, old.shape[-1]), dtype=old.dtype, device=old.device
        )
        new[: len(old), :, :gap] = 0
        new[: len(old), :, gap : gap + old.shape[-2]] = old
        return new

    return Rows
