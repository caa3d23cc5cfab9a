"""Log-probabilities of given tokens under a causal language model: what texts share is computed once,
logits only where they are scored.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.batches import BatchLimits, in_batches
from kdbench.models.prefix_cache import PrefixCache, behind
from kdbench.models.prefix_tree import LEAST_PREFIX, Layout, Tokens, TreeRow
from kdbench.models.tokens import TokenRow

if TYPE_CHECKING:
    import torch

_CHUNK = 512
"""Positions whose distributions are held at once, at most."""
_HELD = 1 << 22
"""Elements of those distributions on a CPU: so little memory is used again rather than asked for, and
emptied, once more for every chunk."""
_LEAST_FILL = 0.75
"""Shorter than this share of the batch's longest row, a row costs more in padding than it saves."""
_MASK = 1 << 25
"""Elements of a batch's mask at most."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a batch's logits are wanted, and the tokens that are scored there.

    Place i is column `columns[i]` of row `rows[i]` of the batch. Scored token j stands at place `at[j]`
    and is `targets[j]`; request r owns the scored tokens from `starts[r]` up to `starts[r + 1]`.
    """

    rows: list[int]
    columns: list[int]
    at: list[int]
    targets: list[int]
    requests: list[int]
    starts: list[int]


class TokenScorer:
    """Scores rows with `model` (a transformers causal language model in evaluation mode)."""

    def __init__(self, model: Any, limits: BatchLimits) -> None:
        self.model = model
        self.limits = limits
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self._prefixes = PrefixCache(model)
        self._selects: bool | None = None

    def score(self, rows: Sequence[TokenRow]) -> list[tuple[float, bool]]:
        """(log-probability in nats summed over the scored tokens, whether each was the most
        probable).

        The softmax is taken in float32. Raises `ModelError` where a log-probability is not a finite
        number.
        """
        scores = [(0.0, True)] * len(rows)

        def reduce(batch: Sequence[TreeRow], places: Places) -> list[tuple[int, float, bool]]:
            logprobs, hits = pick(self.logits(batch, places), places)
            answers = []
            for request, start, end in owners(places):
                logprob = sum(logprobs[start:end])
                if not -float("inf") < logprob < float("inf"):
                    raise ModelError(nonsense(self.model))
                answers.append((request, logprob, all(hits[start:end])))
            return answers

        for request, logprob, greedy in self.walk(rows, reduce, self.layout):
            scores[request] = (logprob, greedy)
        return scores

    def walk(
        self,
        rows: Sequence[TokenRow],
        reduce: Callable[[Sequence[TreeRow], Places], list[Any]],
        layout: Layout,
    ) -> Iterator[Any]:
        """Answers of `reduce` to one batch after another, until every scored token had its turn.

        Rows with equal input tokens share them. `layout` decides what else is shared.
        """
        import torch

        members: dict[Tokens, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            if row.scored:
                check_ids(row.tokens, self.vocabulary)
                members[row.tokens[:-1]].append(index)
        needed = {
            tokens: max(rows[index].scored for index in own) for tokens, own in members.items()
        }
        by_prefix: dict[Tokens, list[TreeRow]] = defaultdict(list)
        for tree in layout.rows(needed):
            by_prefix[tree.prefix].append(tree)

        def fits(batch: Sequence[TreeRow]) -> bool:
            first, last = batch[0], batch[-1]
            if len(last.tokens) < _LEAST_FILL * len(first.tokens):
                return False
            if last.branches != first.branches:
                return False
            seen = len(first.tokens) * (len(first.prefix) + len(first.tokens))
            if (first.branches or first.prefix) and len(batch) * seen > _MASK:
                return False
            positions = sum(needed[one] for tree in batch for one in tree.paths)
            return self.limits.fit(len(batch), len(first.tokens), positions * self.vocabulary)

        def run(batch: Sequence[TreeRow]) -> list[Any]:
            with torch.inference_mode():
                # one list entry per row, as `in_batches` counts them
                answers = reduce(batch, _places(batch, rows, members))
                return [answers, *([] for _ in batch[1:])]

        # Longest first: what does not fit into memory fails at once, and padding stays small.
        for group in by_prefix.values():
            group.sort(key=lambda tree: (tree.branches, -len(tree.tokens), tree.tokens))
            for answers in in_batches(group, fits, self.limits, run):
                yield from answers

    @cached_property
    def layout(self) -> Layout:
        """What this model can share between rows, found out by trying."""
        config = getattr(self.model.config, "text_config", None) or self.model.config
        token_cost = 6.0 * getattr(config, "hidden_size", 512)
        most = min(self.limits.tokens, 4096)
        for prefixes in (True, False):
            layout = Layout(
                token_cost, most, attention_window(self.model.config), prefixes=prefixes
            )
            if self._agrees(layout):
                return layout
        _log.warning(
            "%s computes nothing once for several texts: it takes no mask of ours, or its cache is of "
            "another kind; every text is computed whole",
            type(self.model).__name__,
        )
        return Layout(token_cost, most, share=False)

    def _agrees(self, layout: Layout) -> bool:
        """Whether rows behind a prefix, and branches, give the logits of whole sequences."""
        import torch

        length = LEAST_PREFIX + 2
        if length + 8 > attention_window(self.model.config):
            return False
        stem = tuple(i % self.vocabulary for i in range(7, 7 + length))
        ends = [(3, 1, 2), (3, 1, 4, 5), (9, 8)]
        sequences = [(*stem, *(token % self.vocabulary for token in end)) for end in ends]
        row = Layout(1e9, 1 << 20, prefixes=False).rows(dict.fromkeys(sequences, 1))[0]
        if layout.prefixes:
            row = TreeRow(
                stem, row.tokens[length:], row.positions[length:],
                {one: [node - length for node in path[length:]] for one, path in row.paths.items()},
            )  # fmt: skip
        try:
            with torch.inference_mode():
                for sequence in sequences:
                    whole = self.model(input_ids=self._ids([list(sequence)]), use_cache=False)
                    wanted = whole.logits[0, -1].float()
                    node = row.paths[sequence][-1]
                    found = self.logits([row], Places([0], [node], [0], [0], [0], [0, 1]))
                    if float((found[0].float() - wanted).abs().max() / wanted.std()) > 0.02:
                        return False
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            _log.info("shared prefixes do not work here: %s", error)
            return False
        return True

    def logits(self, batch: Sequence[TreeRow], places: Places) -> torch.Tensor:
        """Logits [places, vocabulary] of a batch of rows behind one prefix."""
        import torch

        device = self.model.device
        size = max(len(tree.tokens) for tree in batch)
        ids = self._ids([[*tree.tokens, *[0] * (size - len(tree.tokens))] for tree in batch])
        rows = torch.tensor(places.rows, device=device)
        columns = torch.tensor(places.columns, device=device)
        given: dict[str, Any] = {"input_ids": ids, "use_cache": False}
        if batch[0].prefix or any(tree.branches for tree in batch):
            given["attention_mask"] = self._mask(batch, size)
            given["position_ids"] = self._positions(batch, size)
        if batch[0].prefix:
            given["past_key_values"] = behind(self._prefixes.layers(batch[0].prefix))
            given["use_cache"] = True
        if self._selects is None:
            self._selects = self._try_selecting()
        found: torch.Tensor
        if self._selects:
            with _selected(self.model, rows, columns):
                found = self.model(**given).logits[0]
        else:
            found = self.model(**given).logits[rows, columns]
        return found

    def _ids(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        import torch

        return torch.tensor(rows, dtype=torch.long).to(self.model.device)

    def _positions(self, batch: Sequence[TreeRow], size: int) -> torch.Tensor:
        return self._ids([[*t.positions, *[0] * (size - len(t.positions))] for t in batch])

    def _mask(self, batch: Sequence[TreeRow], size: int) -> torch.Tensor:
        """Additive mask [rows, 1, size, prefix + size]; padding sees itself, so that no row is empty."""
        import numpy as np
        import torch

        seen = np.zeros((len(batch), size, size), dtype=bool)
        for row, tree in enumerate(batch):
            count = len(tree.tokens)
            seen[row, :count, :count] = tree.sees()
            pad = np.arange(count, size)
            seen[row, pad, pad] = True
        own = torch.from_numpy(seen).to(self.model.device)
        past = len(batch[0].prefix)
        mask = torch.zeros(
            (len(batch), 1, size, past + size), dtype=self.model.dtype, device=own.device
        )
        mask[:, 0, :, past:].masked_fill_(~own, torch.finfo(self.model.dtype).min)
        return mask

    def _try_selecting(self) -> bool:
        """Whether this architecture gives the same logits when its head sees but some positions."""
        import torch

        device = self.model.device
        ids = torch.arange(8, device=device).remainder(self.vocabulary).reshape(2, 4)
        rows = torch.tensor([0, 1, 1], device=device)
        columns = torch.tensor([3, 0, 2], device=device)
        full = self.model(input_ids=ids, use_cache=False).logits[rows, columns].float()
        with _selected(self.model, rows, columns):
            part = self.model(input_ids=ids, use_cache=False).logits
        if part.shape != (1, *full.shape):
            return False
        return bool((part[0].float() - full).abs().max() <= 0.02 * full.std())


def attention_window(config: Any) -> float:
    """Tokens of the narrowest attention window of a model, infinite where there is none."""
    config = getattr(config, "text_config", None) or config
    window = getattr(config, "sliding_window", None) or getattr(
        config, "attention_window_size", None
    )
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    return float(window) if window else float("inf")


def _places(
    batch: Sequence[TreeRow], rows: Sequence[TokenRow], members: Mapping[Tokens, Sequence[int]]
) -> Places:
    found = Places([], [], [], [], [], [0])
    for number, tree in enumerate(batch):
        if len(tree.paths) == 1:
            _places_of_whole(found, number, tree, rows, members)
            continue
        place_of: dict[int, int] = {}
        for sequence, path in tree.paths.items():
            for index in members[sequence]:
                request = rows[index]
                for node in path[-request.scored :]:
                    if node not in place_of:
                        place_of[node] = len(found.rows)
                        found.rows.append(number)
                        found.columns.append(node)
                    found.at.append(place_of[node])
                found.targets.extend(request.tokens[-request.scored :])
                found.requests.append(index)
                found.starts.append(len(found.at))
    return found


def _places_of_whole(
    found: Places,
    number: int,
    tree: TreeRow,
    rows: Sequence[TokenRow],
    members: Mapping[Tokens, Sequence[int]],
) -> None:
    """The same for a row that is one sequence: what is wanted of it are its last nodes."""
    ((sequence, path),) = tree.paths.items()
    most = max(rows[index].scored for index in members[sequence])
    found.rows.extend([number] * most)
    found.columns.extend(path[-most:])
    end = len(found.rows)
    for index in members[sequence]:
        request = rows[index]
        found.at.extend(range(end - request.scored, end))
        found.targets.extend(request.tokens[-request.scored :])
        found.requests.append(index)
        found.starts.append(len(found.at))


def owners(places: Places) -> Iterator[tuple[int, int, int]]:
    """(request, first scored token, one behind its last) of every request of a batch."""
    for request, (start, end) in zip(places.requests, pairwise(places.starts), strict=True):
        yield request, start, end


def pick(logits: torch.Tensor, places: Places) -> tuple[list[float], list[bool]]:
    """Log-probabilities of the scored tokens, and whether each was the most probable one.

    The logarithms are torch's log_softmax, as lm-eval's are: on a CPU its sum over a vocabulary of
    50,000 is about 1e-5 from logsumexp's, always to the same side.
    """
    import torch

    found = torch.empty((2, len(places.at)), device=logits.device)
    size = chunk_size(logits)
    held = torch.empty((min(size, len(logits)), logits.shape[-1]), device=logits.device)
    for start, inside, at, wanted in chunks(places, logits.device, size):
        part = logits[start : start + size].float()
        logprobs = torch.log_softmax(part, -1, out=held[: len(part)])
        found[0, inside] = logprobs[at, wanted]
        found[1, inside] = (logprobs.argmax(-1)[at] == wanted).to(found.dtype)
    values, hits = found.cpu().tolist()
    return values, [hit == 1 for hit in hits]


def chunk_size(logits: torch.Tensor) -> int:
    """Positions whose distributions are held at once."""
    if logits.device.type != "cpu":
        return _CHUNK
    return max(16, min(_CHUNK, _HELD // logits.shape[-1]))


def chunks(places: Places, device: Any, size: int) -> Iterator[tuple[int, Any, Any, Any]]:
    """Scored tokens by chunks of `size` places: (first place, which tokens, their places within,
    targets)."""
    import torch

    at = torch.tensor(places.at, device=device)
    wanted = torch.tensor(places.targets, device=device)
    order = torch.argsort(at, stable=True)
    borders = torch.arange(0, len(places.rows) + size, size, device=device)
    cuts = torch.searchsorted(at[order].contiguous(), borders).tolist()
    for number, (first, last) in enumerate(pairwise(cuts)):
        inside = order[first:last]
        if len(inside):
            start = number * size
            yield start, inside, at[inside] - start, wanted[inside]


def check_ids(tokens: Sequence[int], vocabulary: int) -> None:
    """Raise `ModelError` for a token that a model with so many embedding rows does not know."""
    largest = max(tokens)
    if largest >= vocabulary:
        raise ModelError(
            f"tokenizer mismatch: a text holds token {largest}, and the model's embedding has only "
            f"{vocabulary} rows; name the tokenizer that the model was trained with (`tokenizer`)"
        )


def nonsense(model: Any) -> str:
    """The message for logits that are no numbers."""
    dtype = str(model.dtype).removeprefix("torch.")
    return (
        f"the model's logits are NaN or infinite in dtype {dtype}; try dtype: float32 or bfloat16, "
        "and if that does not help, fetch the weights again"
    )


@contextmanager
def _selected(model: Any, rows: torch.Tensor, columns: torch.Tensor) -> Iterator[None]:
    """Let the output embedding see only hidden states at (rows, columns), as one row.

    A hook rather than a call of the head by itself: what the architecture does to its logits
    afterwards (scaling, soft-capping) stays in force.
    """
    head = model.get_output_embeddings()
    if head is None:
        yield
        return

    def narrow(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *rest = arguments
        return (hidden[rows, columns].unsqueeze(0), *rest)

    hook = head.register_forward_pre_hook(narrow)
    try:
        yield
    finally:
        hook.remove()
