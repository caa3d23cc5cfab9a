"""One training loop and the loss of learning from images; the distillations have modules of their own."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from diffusers import UNet2DModel
from torch.nn import functional
from toylm.progress import say

from .diffusion import Diffusion
from .digits import Digits
from .models import NO_LABEL


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    rate: float = 2e-3
    batch: int = 64
    warm_up: int = 50
    averaging: float = 0.995
    """Decay of the moving average of the weights, which is what is kept."""

    def factor(self, step: int) -> float:
        """Return the share of the learning rate at a step: linear up, then cosine down to 2 %."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Batch:
    """Clean images in -1..1, their labels, and fresh noise of their shape."""

    images: torch.Tensor
    labels: torch.Tensor
    noise: torch.Tensor
    random: torch.Generator

    def steps(self, low: int, high: int) -> torch.Tensor:
        """Return a random step for each image, ``low`` included and ``high`` not."""
        return torch.randint(low, high, (len(self.images),), generator=self.random)


Loss = Callable[[UNet2DModel, Batch], torch.Tensor]


def batches(digits: Digits, rows: int, seed: int) -> Iterator[Batch]:
    """Yield batches for ever, each image drawn with replacement."""
    random = torch.Generator().manual_seed(seed)
    images, labels = digits.pixels(), digits.classes()
    while True:
        picked = torch.randint(len(images), (rows,), generator=random)
        noise = torch.randn(rows, *images.shape[1:], generator=random)
        yield Batch(images[picked], labels[picked], noise, random)


def denoising(diffusion: Diffusion, label_dropout: float) -> Loss:
    """Return the usual loss: the velocity between an image and its noise, at a random step.

    A share of the labels is withheld, so that the model also learns the mean over all digits that
    guidance needs (Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022).
    """

    def loss(model: UNet2DModel, batch: Batch) -> torch.Tensor:
        steps = batch.steps(0, diffusion.steps)
        withheld = torch.rand(len(batch.labels), generator=batch.random) < label_dropout
        labels = batch.labels.masked_fill(withheld, NO_LABEL)
        noisy = diffusion.noised(batch.images, steps, batch.noise)
        found = model(noisy, steps, class_labels=labels).sample
        return functional.mse_loss(found, diffusion.target(batch.images, steps, batch.noise))

    return loss


class Learner:
    """A model, its optimizer, and the moving average of its weights."""

    def __init__(self, model: UNet2DModel, schedule: Schedule) -> None:
        self.model = model.train()
        self.averaged = copy.deepcopy(model).requires_grad_(False).eval()
        self.schedule = schedule
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=schedule.rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, schedule.factor)
        self.taken = 0

    def step(self, loss: torch.Tensor) -> float:
        """Take one step down the loss and return its value."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.scheduler.step()
        self.taken += 1
        # A young average would remember the first weights; it forgets faster at first.
        keep = min(self.schedule.averaging, (1 + self.taken) / (10 + self.taken))
        with torch.no_grad():
            for kept, new in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)
        return loss.item()


@dataclass
class Progress:
    """Says now and then how a training goes, and keeps what it said last."""

    name: str
    total: int
    step: int = 0
    seconds: float = 0.0  # of the processor
    loss: float = math.nan

    def __post_init__(self) -> None:
        self.began = time.process_time()
        self.recent: list[float] = []

    def record(self) -> dict[str, float]:
        """Return what was done: steps, processor seconds, mean loss of the last 100 steps."""
        return {"steps": self.step, "seconds": round(self.seconds, 1), "loss": round(self.loss, 4)}

    def add(self, loss: float) -> None:
        """Count a step."""
        self.step += 1
        self.recent = [*self.recent[-99:], loss]
        if self.step % 100 == 0 or self.step == self.total:
            self.seconds = time.process_time() - self.began
            self.loss = sum(self.recent) / len(self.recent)
            say(
                f"{self.name:>12} {self.step:5d}/{self.total} {self.seconds:6.0f} s  {self.loss:.4f}"
            )


def train(
    name: str, model: UNet2DModel, source: Iterator[Batch], loss: Loss, schedule: Schedule
) -> tuple[UNet2DModel, Progress]:
    """Train, and return the averaged model with what was done."""
    learner, progress = Learner(model, schedule), Progress(name, schedule.steps)
    for _ in range(schedule.steps):
        progress.add(learner.step(loss(learner.model, next(source))))
    return learner.averaged, progress
