"""One training loop and the losses that make the models differ."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from .batches import Batch, Encoded
from .document import Kind
from .progress import say

Sources = dict[Kind, Iterator[Batch]]
SAMPLED_TOKENS = 12
"""How many tokens of an answer a student samples at most."""

Loss = Callable[[LlamaForCausalLM, Batch, int], torch.Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    The first ``recital_steps`` see recitals alone.  Repeating a list is the shortest exercise in
    looking something up, and models that have not practised it do not begin to answer questions
    about a passage within the few steps that a small machine can afford.
    """

    steps: int
    recital_steps: int
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    warm_up: int = 40

    def factor(self, step: int) -> float:
        """Return the share of the learning rates at a step: linear up, then cosine down to 2 %."""
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


class OnPolicy:
    """Generalized distillation on the student's own answers.

    The first steps are plain forward KL: what an untrained student samples teaches nothing.  After
    them every other step lets the student answer one question per document and minimizes
    KL(student || teacher) on the tokens that it sampled.
    """

    def __init__(
        self,
        teacher: LlamaForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        first_step: int,
        seed: int,
    ) -> None:
        self.teacher = teacher
        self.first_step = first_step
        self.rng = Random(f"questions {seed}")
        self.off_policy = forward_kl(teacher)
        self.pad = int(tokenizer.pad_token_id)
        self.ends = [int(tokenizer.encode("\n")[0]), int(tokenizer.eos_token_id)]

    def __call__(self, model: LlamaForCausalLM, batch: Batch, step: int) -> torch.Tensor:
        """Return the loss of one batch."""
        if step < self.first_step or step % 2 == 0:
            return self.off_policy(model, batch, step)
        ids, weight = self._sample(model, [self._prompt(row) for row in batch.rows])
        with torch.no_grad():
            target = log_probs(self.teacher, ids)
        ours = log_probs(model, ids)
        return weighted_mean((ours.exp() * (ours - target)).sum(dim=-1), weight)

    def _prompt(self, row: Encoded) -> tuple[int, ...]:
        """Return a document up to the beginning of one of its answers."""
        starts = [
            index
            for index in range(1, len(row.ids))
            if row.answer[index] and not row.answer[index - 1]
        ]
        return row.ids[: self.rng.choice(starts)]

    def _sample(
        self, model: LlamaForCausalLM, prompts: list[tuple[int, ...]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return right-padded prompts with sampled answers, and weight 1 on the sampled tokens."""
        longest = max(len(prompt) for prompt in prompts)
        padded = torch.full((len(prompts), longest), self.pad)
        for index, prompt in enumerate(prompts):
            padded[index, longest - len(prompt) :] = torch.tensor(prompt)
        with torch.autocast("cpu", torch.bfloat16):
            output = model.generate(
                input_ids=padded,
                attention_mask=(padded != self.pad).long(),
                do_sample=True,
                top_k=0,
                max_new_tokens=SAMPLED_TOKENS,
                eos_token_id=self.ends,
                pad_token_id=self.pad,
            )
        ids = torch.full_like(output, self.pad)
        weight = torch.zeros(output.shape[0], output.shape[1] - 1)
        for index, prompt in enumerate(prompts):
            row = output[index, longest - len(prompt) :]
            ids[index, : len(row)] = row
            # Generation fills up with padding behind the token that ended the answer.
            weight[index, len(prompt) - 1 : len(row) - 1] = (row[len(prompt) :] != self.pad).float()
        return ids, weight


def make_optimizers(model: LlamaForCausalLM, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the layers and AdamW for embeddings and norms.

    With Muon, models of this size learn to repeat a list in far fewer steps than with AdamW alone.
    """
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        in_layer = parameter.dim() == 2 and "embed" not in name
        (matrices if in_layer else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=schedule.matrix_rate, weight_decay=0.01),
        torch.optim.AdamW(
            others, lr=schedule.other_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        ),
    ]


def train(
    name: str, model: LlamaForCausalLM, sources: Sources, loss: Loss, schedule: Schedule
) -> Record:
    """Train in place; each step takes one batch of every kind of document."""
    record = Record(schedule)
    optimizers = make_optimizers(model, schedule)
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.factor) for optimizer in optimizers
    ]
    began = time.monotonic()
    recent: dict[str, list[float]] = {kind: [] for kind in sources}
    model.train()
    for step in range(schedule.steps):
        kinds: list[Kind] = ["recital"] if step < schedule.recital_steps else list(sources)
        for kind in kinds:
            batch = next(sources[kind])
            value = loss(model, batch, step)
            (value / len(kinds)).backward()
            record.tokens += batch.tokens
            recent[kind] = [*recent[kind][-49:], value.item()]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 20 == 0 or step + 1 == schedule.steps:
            record.seconds = time.monotonic() - began
            record.final_loss = {kind: sum(v) / len(v) for kind, v in recent.items() if v}
            losses = "  ".join(f"{kind} {v:.3f}" for kind, v in record.final_loss.items())
            head = f"{name:>10} {step + 1:5d}/{schedule.steps} {record.seconds:6.0f} s"
            say(f"{head}  {losses}")
    model.eval()
    return record
