"""Continuous batching: rows that end leave the batch at once, and waiting ones take their places.

transformers' `generate` decodes a batch until its longest answer ends; here the key/value cache is
narrowed to the rows that go on, and prompts are computed as room comes free (iteration-level
scheduling; Yu et al. 2022, Orca, section 4). Prompts go longest first; a beginning that all of them
share is computed once.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.batches import BatchLimits, out_of_memory
from kdbench.models.decoding import NonsenseWatch, Penalties, StopText
from kdbench.models.prefix_cache import PrefixCache
from kdbench.models.prefix_tree import LEAST_PREFIX, common
from kdbench.models.row_cache import empty_cache, join, keep, pick
from kdbench.models.sampling import gumbel_noise
from kdbench.models.scoring import attention_window, nonsense

if TYPE_CHECKING:
    import torch

    from kdbench.models.decoding import Warper

_HEADROOM = 128
"""New tokens that a row is given room for when it joins, at most. A row that grows beyond may have to
leave the batch again and go on later, from where it was."""
_REFILL = 4
"""Prompts are computed when they are at least one for so many rows in flight: a forward pass for a
single one costs as much as a step of all."""

_LEAST_USED = 0.75
"""Share of a batch's columns that rows use; below it the others are taken out, which copies everything."""

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Row:
    """One prompt (token ids), the seed of its sample, and the tokens of its answer so far."""

    prompt: list[int]
    seed: int
    stop: StopText
    new: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.new)


@dataclass(frozen=True)
class Rules:
    """How the rows of one loop choose their tokens, and when they end."""

    max_new_tokens: int
    sampled: bool
    warpers: Sequence[Warper]
    penalties: Penalties
    ends: frozenset[int]

    def room(self, row: Row) -> int:
        """Tokens that a joining row may come to take, prompt included."""
        return row.length + min(self.max_new_tokens - len(row.new), _HEADROOM)

    def over(self, row: Row) -> bool:
        if not row.new:
            return False
        full = len(row.new) >= self.max_new_tokens
        return full or row.new[-1] in self.ends or row.stop.hit(row.new)


@dataclass
class Flight:
    """Rows that are decoded together; `mask` is [rows, columns of `cache`], one where a token is."""

    rows: list[Row]
    cache: Any
    mask: torch.Tensor


class DecodingLoop:
    """Decodes with `model`, a transformers causal language model in evaluation mode."""

    def __init__(self, model: Any, limits: BatchLimits, padding: int) -> None:
        self.model = model
        self.limits = limits
        self.padding = padding
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self._prefixes = PrefixCache(model)
        known = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in known
        self._takes_last = "logits_to_keep" in known
        self._shares = attention_window(model.config) == float("inf")
        # what takes its positions from the mask, or sees but a window of it, must get it as it is
        self._biases = self._shares and self._takes_positions

    def run(self, rows: Sequence[Row], rules: Rules) -> None:
        """Fill in `new` of all `rows`.

        Raises `ModelError` for logits that are no numbers, and where a single row does not fit into
        the device's memory.
        """
        import torch

        waiting = deque(sorted(rows, key=lambda row: -row.length))
        prefix = self._prefix([row.prompt for row in rows])
        flight: Flight | None = None
        watch = NonsenseWatch()
        while waiting or flight:
            joining: list[Row] = []
            lost: torch.cuda.OutOfMemoryError | None = None
            try:
                with torch.inference_mode():
                    if flight:
                        flight = self._narrowed(flight, self._bounded(flight.rows, waiting, rules))
                    joining = self._joining(flight.rows if flight else [], waiting, rules)
                    flight = self._turn(flight, joining, prefix, rules, watch)
            except torch.cuda.OutOfMemoryError as error:
                lost = error.with_traceback(None)  # it would keep the batch's tensors alive
            if lost is not None:
                again = [*(flight.rows if flight else []), *joining]
                flight = None
                out_of_memory(self.limits, len(again), lost)
                waiting.extendleft(row for row in reversed(again) if not rules.over(row))
            if flight is None and watch.failed():
                break
        if watch.failed():
            raise ModelError(nonsense(self.model))

    def _turn(
        self,
        flight: Flight | None,
        joining: list[Row],
        prefix: tuple[int, ...],
        rules: Rules,
        watch: NonsenseWatch,
    ) -> Flight | None:
        """One more token for the rows that join, or where there are none, for those in flight."""
        if joining:
            fresh, logits = self._begin(joining, prefix)
            self._choose(joining, logits, rules, watch)
            return self._joined(flight, self._narrowed(fresh, _going_on(joining, rules)))
        assert flight is not None
        self._choose(flight.rows, self._step(flight), rules, watch)
        return self._narrowed(flight, _going_on(flight.rows, rules))

    def _prefix(self, prompts: Sequence[list[int]]) -> tuple[int, ...]:
        """The beginning that all prompts share, where sharing it is worth while and possible."""
        if not self._shares or len(prompts) < 2:
            return ()
        first, last = tuple(min(prompts)), tuple(max(prompts))
        length = min(common(first, last), min(map(len, prompts)) - 1)
        return first[:length] if length >= LEAST_PREFIX else ()

    def _bounded(self, rows: list[Row], waiting: deque[Row], rules: Rules) -> list[int]:
        """Places of the rows that stay within the limits; the others, the shortest, wait again."""
        kept = len(rows)
        if self._fits(kept, max(row.length for row in rows) + 1):
            return list(range(kept))
        order = sorted(range(kept), key=lambda place: -rows[place].length)
        longest = rules.room(rows[order[0]])
        while kept > 1 and not self._fits(kept, longest):
            kept -= 1
        waiting.extendleft(rows[place] for place in reversed(order[kept:]))
        return sorted(order[:kept])

    def _joining(self, rows: list[Row], waiting: deque[Row], rules: Rules) -> list[Row]:
        """Waiting rows to compute now, taken out of `waiting`."""
        if not waiting:
            return []
        longest = max((row.length for row in rows), default=0)
        count, fresh = 0, 0
        for row in waiting:
            longest, fresh = max(longest, rules.room(row)), max(fresh, row.length)
            if (count or rows) and not self._fits(len(rows) + count + 1, longest):
                break
            if count and not self.limits.begin(count + 1, fresh):
                break
            count += 1
        if count * _REFILL < len(rows) and count < len(waiting):
            return []
        return [waiting.popleft() for _ in range(count)]

    def _fits(self, rows: int, longest: int) -> bool:
        return self.limits.fit(rows, longest, rows * self.vocabulary)

    def _begin(self, rows: list[Row], prefix: tuple[int, ...]) -> tuple[Flight, torch.Tensor]:
        """Rows' keys and values, and the logits [rows, vocabulary] of their next tokens."""
        import torch

        device = self.model.device
        texts = [[*row.prompt[len(prefix) :], *row.new] for row in rows]
        size = max(map(len, texts))
        ids = torch.full((len(rows), size), self.padding)
        mask = torch.ones((len(rows), len(prefix) + size), dtype=torch.long)
        for place, text in enumerate(texts):
            gap = size - len(text)
            ids[place, gap:] = torch.tensor(text)
            mask[place, len(prefix) : len(prefix) + gap] = 0
        cache = empty_cache(self._prefixes.layers(prefix) if prefix else None, len(rows))
        flight = Flight(rows, cache, mask.to(device))
        return flight, self._forward(flight, ids.to(device))

    def _step(self, flight: Flight) -> torch.Tensor:
        import torch

        ids = torch.tensor([[row.new[-1]] for row in flight.rows], device=self.model.device)
        flight.mask = torch.cat([flight.mask, torch.ones_like(ids)], dim=1)
        return self._forward(flight, ids)

    def _forward(self, flight: Flight, ids: torch.Tensor) -> torch.Tensor:
        import torch

        given: dict[str, Any] = {}
        if self._takes_positions:
            if ids.shape[1] == 1:
                places = flight.mask.sum(-1, keepdim=True) - 1
            else:
                places = (flight.mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            given["position_ids"] = places
        if self._takes_last:
            given["logits_to_keep"] = 1
        mask = flight.mask
        if self._biases and ids.shape[1] == 1:
            # ready for every layer, where the library would make it anew from so many small steps
            bias = torch.zeros(mask.shape, dtype=self.model.dtype, device=mask.device)
            mask = bias.masked_fill_(mask == 0, torch.finfo(bias.dtype).min)[:, None, None]
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=flight.cache,
            use_cache=True,
            **given,
        )
        logits: torch.Tensor = out.logits[:, -1].float()
        return logits

    def _choose(
        self, rows: list[Row], logits: torch.Tensor, rules: Rules, watch: NonsenseWatch
    ) -> None:
        """Append the next token of each row: one transfer from the device."""
        import torch

        scores = rules.penalties(((row.prompt, row.new) for row in rows), logits)
        if rules.sampled:
            scores = watch(None, scores)
            for warper in rules.warpers:
                scores = warper(None, scores)
            seeds = torch.tensor([row.seed for row in rows], device=scores.device)
            steps = torch.tensor([len(row.new) for row in rows], device=scores.device)
            tokens = (scores + gumbel_noise(seeds, steps, scores.shape[1])).argmax(-1)
        else:
            best, tokens = scores.max(-1)
            watch.note(best)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.new.append(token)

    def _narrowed(self, flight: Flight, places: list[int]) -> Flight | None:
        """The flight with the rows at `places` alone, and with few columns that are padding in all.

        The last rows take the places of those that leave, so that little is copied.
        """
        import torch

        count = len(places)
        if count == len(flight.rows):
            return flight
        if not places:
            return None
        left = sorted(set(range(count)).difference(places))
        moved = [place for place in places if place >= count]
        rows, mask = flight.rows[:count], flight.mask
        for place, source in zip(left, moved, strict=True):
            rows[place] = flight.rows[source]
        sources, gaps = (
            torch.tensor(own, device=mask.device, dtype=torch.long) for own in (moved, left)
        )
        mask[gaps] = mask[sources]
        keep(flight.cache, count, sources, gaps)
        mask = mask[:count]
        used = mask.any(0).nonzero()[:, 0]
        if len(used) <= _LEAST_USED * mask.shape[1]:
            pick(flight.cache, used)
            mask = mask[:, used]
        return Flight(rows, flight.cache, mask)

    def _joined(self, flight: Flight | None, fresh: Flight | None) -> Flight | None:
        import torch

        if flight is None or fresh is None:
            return flight or fresh
        width = max(flight.mask.shape[1], fresh.mask.shape[1])
        masks = [
            torch.nn.functional.pad(part.mask, (width - part.mask.shape[1], 0))
            for part in (flight, fresh)
        ]
        join(flight.cache, fresh.cache)
        return Flight([*flight.rows, *fresh.rows], flight.cache, torch.cat(masks))

    def agrees(self) -> bool:
        """Whether rows that join and leave get the logits of whole texts from this architecture.

        Found out by trying: models without a cache, or with one that can't be taken apart (recurrent
        states), fail here. Without a mask of ours, or a shared beginning, the loop may still work.
        """
        return any(
            self._works(shares, biases)
            for shares in dict.fromkeys((self._shares, False))
            for biases in dict.fromkeys((self._biases, False))
        )

    def _works(self, shares: bool, biases: bool) -> bool:
        """Whether it works in this way, which it keeps to from now on."""
        import torch

        self._shares, self._biases = shares, biases
        try:
            with torch.inference_mode():
                return self._tried(LEAST_PREFIX if shares else 0)
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            _log.info("decoding in a continuous batch does not work so: %s", error)
            return False

    def _tried(self, shared: int) -> bool:
        import torch

        stop = StopText(None, ())  # type: ignore[arg-type]
        stem = [token % self.vocabulary for token in range(7, 7 + shared)]
        ends = ([3, 1, 2, 4, 8], [9, 8], [5, 6, 5])
        texts = [[*stem, *(token % self.vocabulary for token in end)] for end in ends]
        rows = [Row(text, 0, stop) for text in texts]
        wanted = [self._whole(row.prompt) for row in rows]
        flight, logits = self._begin(rows[:2], tuple(stem))
        found = [*logits]
        late, logits = self._begin(rows[2:], tuple(stem))
        found += [*logits]
        for row in rows:
            row.new.append(2 % self.vocabulary)
        both = self._joined(self._narrowed(flight, [1]), late)
        assert both is not None
        found += [*self._step(both)]
        wanted += [self._whole([*row.prompt, *row.new]) for row in both.rows]
        one, other = torch.stack(found), torch.stack(wanted)
        return bool((one - other).abs().max() <= 0.02 * other.std())

    def _whole(self, tokens: list[int]) -> torch.Tensor:
        import torch

        ids = torch.tensor([tokens], device=self.model.device)
        logits: torch.Tensor = self.model(input_ids=ids, use_cache=False).logits[0, -1].float()
        return logits


def _going_on(rows: Sequence[Row], rules: Rules) -> list[int]:
    return [place for place, row in enumerate(rows) if not rules.over(row)]
