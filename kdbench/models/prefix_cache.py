"""Keys and values of token prefixes, kept so that what many rows share is computed once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from kdbench.models.prefix_tree import LEAST_PREFIX, Tokens, common

if TYPE_CHECKING:
    import torch

    Layers = list[tuple[torch.Tensor, torch.Tensor]]

KEPT = 2
"""Prefixes kept at once: the last one, and the one before it."""


class PrefixCache:
    """The last few prefixes of a model; a new one is computed from where it leaves an old one."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._known: OrderedDict[Tokens, Layers] = OrderedDict()

    def layers(self, prefix: Tokens) -> Layers:
        """Keys and values of each layer, [1, heads, len(prefix), size]."""
        import torch

        if prefix in self._known:
            self._known.move_to_end(prefix)
            return self._known[prefix]
        near = max(self._known, key=lambda known: common(known, prefix), default=())
        shared = common(near, prefix)
        past = None
        if shared == len(prefix):
            found = cut(self._known[near], shared)
        else:
            if shared >= LEAST_PREFIX:
                past = growing(self.model.config, cut(self._known[near], shared))
            else:
                shared = 0
            ids = torch.tensor([prefix[shared:]], device=self.model.device)
            body = self.model.get_decoder() if hasattr(self.model, "get_decoder") else self.model
            out = body(input_ids=ids, past_key_values=past, use_cache=True)
            found = [(layer.keys, layer.values) for layer in out.past_key_values.layers]
        self._known[prefix] = found
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return found


def cut(layers: Layers, length: int) -> Layers:
    """The first `length` tokens of a prefix."""
    return [(keys[..., :length, :], values[..., :length, :]) for keys, values in layers]


def growing(config: Any, layers: Layers) -> Any:
    """A transformers cache that holds `layers` and goes on from there."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for index, (keys, values) in enumerate(layers):
        cache.update(keys, values, index)
    return cache


def behind(layers: Layers) -> Any:
    """A transformers cache of one prefix in front of every row of a batch, which keeps nothing else.

    The prefix is not copied for each row but while its layer is computed, and new keys and values are
    forgotten with their layer.
    """
    import torch
    from transformers.cache_utils import Cache, DynamicLayer

    class Shared(DynamicLayer):  # type: ignore[no-untyped-call]
        def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.lazy_initialization(keys, values)
            self.keys, self.values = keys, values

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            rows = key_states.shape[0]
            assert self.keys is not None and self.values is not None
            keys = torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2)
            values = torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2)
            return keys, values

    return Cache(layers=[Shared(keys, values) for keys, values in layers])
