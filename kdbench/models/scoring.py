"""Log-probabilities of given tokens under a causal language model, logits only where they are
scored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.batches import BatchLimits, in_batches
from kdbench.models.tokens import TokenRow

if TYPE_CHECKING:
    import torch

_CHUNK = 512
_LEAST_FILL = 0.75
"""Shorter than this share of the batch's longest row, a row costs more in padding than it saves."""


class TokenScorer:
    """Scores rows with `model` (a transformers causal language model in evaluation mode)."""

    def __init__(self, model: Any, limits: BatchLimits) -> None:
        self.model = model
        self.limits = limits
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self._selects: bool | None = None

    def score(self, rows: Sequence[TokenRow]) -> list[tuple[float, bool]]:
        """(log-probability in nats summed over the scored tokens, whether each was the most
        probable).

        Rows with equal input tokens share a forward pass. The softmax is taken in float32. Raises
        `ModelError` where a log-probability is not a finite number.
        """
        shared: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            if row.scored:
                check_ids(row.tokens, self.vocabulary)
                shared[row.tokens[:-1]].append(index)
        # Longest first: what does not fit into memory fails at once, and padding stays small.
        inputs = sorted(shared, key=lambda tokens: (-len(tokens), tokens))
        needed = {tokens: max(rows[index].scored for index in shared[tokens]) for tokens in inputs}

        def fits(batch: Sequence[tuple[int, ...]]) -> bool:
            positions = sum(needed[tokens] for tokens in batch)
            if len(batch[-1]) < _LEAST_FILL * len(batch[0]):
                return False
            return self.limits.fit(len(batch), len(batch[0]), positions * self.vocabulary)

        def run(batch: Sequence[tuple[int, ...]]) -> list[list[tuple[int, float, bool]]]:
            members = [[(index, rows[index]) for index in shared[tokens]] for tokens in batch]
            return self._run(batch, [needed[tokens] for tokens in batch], members)

        scores = [(0.0, True)] * len(rows)
        for answers in in_batches(inputs, fits, self.limits, run):
            for index, logprob, greedy in answers:
                scores[index] = (logprob, greedy)
        return scores

    def _run(
        self,
        inputs: Sequence[tuple[int, ...]],
        needed: Sequence[int],
        members: Sequence[Sequence[tuple[int, TokenRow]]],
    ) -> list[list[tuple[int, float, bool]]]:
        import torch

        device = self.model.device
        ids = torch.zeros((len(inputs), len(inputs[0])), dtype=torch.long)
        at_row: list[int] = []
        at_column: list[int] = []
        places: list[int] = []
        targets: list[int] = []
        for row, (tokens, count) in enumerate(zip(inputs, needed, strict=True)):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            at_row += [row] * count
            at_column += range(len(tokens) - count, len(tokens))
            for _, request in members[row]:
                places += range(len(at_row) - request.scored, len(at_row))
                targets += request.tokens[-request.scored :]
        with torch.inference_mode():
            logits = self._logits(
                ids.to(device),
                torch.tensor(at_row, device=device),
                torch.tensor(at_column, device=device),
            )
            found = _pick(logits, places, targets)
        answers, start = [], 0
        for group in members:
            listed = []
            for index, request in group:
                end = start + request.scored
                logprob = sum(found[0][start:end])
                if not -float("inf") < logprob < float("inf"):
                    raise ModelError(nonsense(self.model))
                listed.append((index, logprob, all(found[1][start:end])))
                start = end
            answers.append(listed)
        return answers

    def _logits(self, ids: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Logits [positions, vocabulary] of `ids` [batch, length] at (rows, columns)."""
        if self._selects is None:
            self._selects = self._try_selecting()
        found: torch.Tensor
        if self._selects:
            with _selected(self.model, rows, columns):
                found = self.model(input_ids=ids, use_cache=False).logits[0]
        else:
            found = self.model(input_ids=ids, use_cache=False).logits[rows, columns]
        return found

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


def _pick(logits: torch.Tensor, places: Sequence[int], targets: Sequence[int]) -> list[list[float]]:
    """Log-probabilities of `targets` at the rows `places` of `logits` [positions, vocabulary], and 1
    where the target was the most probable token, else 0.

    The logarithms are torch's log_softmax, as lm-eval's are: on a CPU its sum over a vocabulary of
    50,000 is about 1e-5 from logsumexp's, always to the same side.
    """
    import torch

    order, parts = [], []
    for start in range(0, len(logits), _CHUNK):
        inside = [i for i, place in enumerate(places) if start <= place < start + _CHUNK]
        rows = torch.tensor([places[i] - start for i in inside], device=logits.device)
        wanted = torch.tensor([targets[i] for i in inside], device=logits.device)
        logprobs = logits[start : start + _CHUNK].float().log_softmax(-1)
        hits = logprobs.argmax(-1)[rows] == wanted
        parts.append(torch.stack([logprobs[rows, wanted], hits.to(logprobs.dtype)]))
        order += inside
    found = torch.cat(parts, dim=1).cpu()
    answers = torch.empty_like(found)
    answers[:, order] = found
    return [list(row) for row in answers.tolist()]


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
