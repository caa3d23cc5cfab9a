"""One training loop and the losses that make the models differ."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from .batches import Batch
from .document import Kind

Sources = dict[Kind, Iterator[Batch]]
Loss = Callable[[LlamaForCausalLM, Batch, int], torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    learning_rate: float
    warm_up: int = 50
    weight_decay: float = 0.05

    def factor(self, step: int) -> float:
        """Return the share of the learning rate at a step: linear up, then cosine down to 2 %."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass
class Record:
    """What a training run did."""

    schedule: Schedule
    seconds: float = 0.0
    tokens: int = 0
    final_loss: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """Return a JSON-ready form."""
        return asdict(self)


def log_probs(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities of the next token at every position but the last."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids, use_cache=False).logits
    return functional.log_softmax(logits[:, :-1].float(), dim=-1)


def weighted_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the mean of per-position values under the batch's weights."""
    return (values * weight).sum() / weight.sum()


def cross_entropy(model: LlamaForCausalLM, batch: Batch, step: int) -> torch.Tensor:
    """Return the usual loss on the documents' own next tokens."""
    found = log_probs(model, batch.ids).gather(2, batch.ids[:, 1:, None])[..., 0]
    return weighted_mean(-found, batch.weight)


def forward_kl(teacher: LlamaForCausalLM) -> Loss:
    """Return the loss KL(teacher || student) on the documents; their labels play no part."""

    def loss(model: LlamaForCausalLM, batch: Batch, step: int) -> torch.Tensor:
        with torch.no_grad():
            target = log_probs(teacher, batch.ids)
        ours = log_probs(model, batch.ids)
        return weighted_mean((target.exp() * (target - ours)).sum(dim=-1), batch.weight)

    return loss


def train(
    name: str, model: LlamaForCausalLM, sources: Sources, loss: Loss, schedule: Schedule
) -> Record:
    """Train in place; each step takes one batch of every kind of document."""
    record = Record(schedule)
    decayed = [item for item in model.parameters() if item.dim() > 1]
    others = [item for item in model.parameters() if item.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=schedule.learning_rate, betas=(0.9, 0.98), fused=True
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.factor)
    began = time.monotonic()
    recent: dict[str, list[float]] = {kind: [] for kind in sources}
    model.train()
    for step in range(schedule.steps):
        for kind, source in sources.items():
            batch = next(source)
            value = loss(model, batch, step)
            (value / len(sources)).backward()
            record.tokens += batch.tokens
            recent[kind] = [*recent[kind][-49:], value.item()]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 20 == 0 or step + 1 == schedule.steps:
            record.seconds = time.monotonic() - began
            record.final_loss = {kind: sum(v) / len(v) for kind, v in recent.items()}
            losses = "  ".join(f"{kind} {v:.3f}" for kind, v in record.final_loss.items())
            print(f"{name:>10} {step + 1:5d}/{schedule.steps} {record.seconds:6.0f} s  {losses}",
                  flush=True)
    model.eval()
    return record
