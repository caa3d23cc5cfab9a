"""Documents turned into padded tensors, one kind of document per batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

import torch
from transformers import PreTrainedTokenizerFast

from .corpus import train_stream
from .document import Kind


@dataclass(frozen=True)
class Encoded:
    """Token ids of a document and, for every token, whether it belongs to an answer."""

    ids: tuple[int, ...]
    answer: tuple[bool, ...]


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids, the loss weight of each *predicted* token, and the answer mask."""

    ids: torch.Tensor  # (rows, length)
    weight: torch.Tensor  # (rows, length - 1); 0 at padding
    rows: tuple[Encoded, ...]

    @property
    def tokens(self) -> int:
        """Return how many tokens are predicted."""
        return int((self.weight > 0).sum())


class Encoder:
    """Tokenizes documents with the end mark, and with the start mark for every other one.

    The harness scores some requests after a start mark and most without one; a model that always
    saw the mark in training would be at a loss in the other case.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, prompt_weight: float) -> None:
        self.tokenizer = tokenizer
        self.prompt_weight = prompt_weight
        self.pad = int(tokenizer.pad_token_id)

    def encode(self, pieces: list[tuple[str, bool]], start: bool) -> Encoded:
        """Return the tokens of ``(text, is_answer)`` pieces."""
        ids: list[int] = [self.tokenizer.bos_token_id] if start else []
        answer = [False] * len(ids)
        encoded = self.tokenizer([text for text, _ in pieces], add_special_tokens=False)
        for tokens, (_, is_answer) in zip(encoded["input_ids"], pieces, strict=True):
            ids.extend(tokens)
            answer.extend([is_answer] * len(tokens))
        ids.append(self.tokenizer.eos_token_id)
        answer.append(False)
        return Encoded(tuple(ids), tuple(answer))

    def batch(self, rows: list[Encoded]) -> Batch:
        """Pad rows to one length and weigh answers 1 and everything else ``prompt_weight``."""
        length = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), length), self.pad)
        weight = torch.zeros(len(rows), length - 1)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = torch.tensor(row.ids)
            answer = torch.tensor(row.answer[1:])
            weight[index, : len(row.ids) - 1] = torch.where(answer, 1.0, self.prompt_weight)
        return Batch(ids, weight, tuple(rows))


def document_set(
    encoder: Encoder, kind: Kind, seed: int, size: int, wrong_share: float
) -> list[Encoded]:
    """Return ``size`` encoded train documents; ``wrong_share`` of their answers are falsified."""
    rng = Random(f"labels {kind} {seed}")
    result = []
    for document in islice(train_stream(kind, seed), size):
        wrong = tuple(rng.random() < wrong_share for _ in document.answers)
        result.append(encoder.encode(document.pieces(wrong), start=rng.random() < 0.5))
    return result


def batches(encoder: Encoder, documents: list[Encoded], rows: int, seed: str) -> Iterator[Batch]:
    """Yield batches for ever, going through the documents in a new order each time."""
    rng = Random(seed)
    order: list[int] = []
    while True:
        while len(order) < rows:
            fresh = list(range(len(documents)))
            rng.shuffle(fresh)
            order.extend(fresh)
        picked, order = order[:rows], order[rows:]
        yield encoder.batch([documents[index] for index in picked])
