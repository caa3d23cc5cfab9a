"""Rebuild the quickstart's image models: a digit classifier, a teacher, and its few-step students.

    python suites/quickstart/recipe/train_images.py [MODEL ...] [--out FOLDER] [--seed N] [--scale X]

Without names everything is trained; with names only these are, from what the folder already has.
Everything follows from the seeds.  The reference images come out byte for byte the same on every
machine; trained weights do so only as far as the machine adds floating-point numbers in the same order.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from toylm.progress import say
from toypix import matching, progressive
from toypix.classifier import new_classifier, train_classifier
from toypix.diffusion import Diffusion, velocity
from toypix.digits import CLASSES, Digits, split, write_reference
from toypix.files import (
    load_classifier,
    load_denoiser,
    load_generator,
    save_classifier,
    save_generator,
    write_record,
)
from toypix.models import STUDENT, TEACHER, USES, Shape, new_denoiser, new_scheduler
from toypix.scores import generated, quick_look
from toypix.sheet import write_sheet
from toypix.training import Schedule, batches, denoising, train

if TYPE_CHECKING:
    from diffusers import UNet2DModel

SUITE = Path(__file__).resolve().parents[1]
MODELS = ("classifier", "teacher", "scratch", "progressive", "matching")

CLASSIFIER_STEPS = 500
TEACHER_SCHEDULE = Schedule(steps=2200)
SCRATCH_SCHEDULE = Schedule(steps=3000)
STAGE_SCHEDULE = Schedule(steps=400, rate=1e-3)
PAIRS_SCHEDULE = Schedule(steps=400, rate=1e-3)
MATCHING_SCHEDULE = Schedule(steps=400, rate=3e-4, averaging=0.98)
HALVINGS = (16, 8, 4, 2)
"""Sampler steps after each stage of progressive distillation; the teacher takes 32."""

LABEL_DROPOUT = 0.1
"""Share of the teacher's labels that are withheld in training, so that it can be guided."""

MATCHING_GUIDANCE = 1.5
"""How the teacher that distribution matching follows is guided; sampled by itself it is not."""

TEACHER_SEED = 1
LOOK = 30
"""Images of each digit that the quick look looks at."""
SHOWN = 2
"""Images of each digit on the contact sheet."""


class Recipe:
    """The trainings; each reads what it builds on from the folder of the models."""

    def __init__(self, out: Path, seed: int, scale: float) -> None:
        self.out = out
        self.seed = seed
        self.scale = scale
        self.diffusion = Diffusion.of(new_scheduler())
        self.images, _ = split()

    def classifier(self) -> None:
        """Train what will judge the generators, on the images that they are trained on."""
        model = new_classifier(TEACHER_SEED)
        steps = max(2, round(CLASSIFIER_STEPS * self.scale))
        progress = train_classifier(model, self.images, steps, TEACHER_SEED)
        save_classifier(model, self.out / "classifier", progress.record())

    def teacher(self) -> None:
        """Train the teacher."""
        self._denoiser("teacher", TEACHER, TEACHER_SCHEDULE, TEACHER_SEED, LABEL_DROPOUT)

    def scratch(self) -> None:
        """Train the small network on the images alone."""
        self._denoiser("scratch", STUDENT, SCRATCH_SCHEDULE, self.seed + 1, 0.0)

    def progressive(self) -> None:
        """Halve the teacher's steps until few are left."""
        student, stages = progressive.distil(
            self.diffusion,
            velocity(self._frozen_teacher()),
            load_denoiser(self.out / "scratch"),
            batches(self.images, STAGE_SCHEDULE.batch, self.seed + 2),
            HALVINGS,
            self._scaled(STAGE_SCHEDULE),
        )
        self._save(student, "progressive", {"stages": stages})

    def matching(self) -> None:
        """Train a one-step generator whose images the guided teacher finds likely."""
        plan = matching.Matching()
        plan = replace(plan, pairs=max(PAIRS_SCHEDULE.batch, round(plan.pairs * self.scale)))
        source = batches(self.images, MATCHING_SCHEDULE.batch, self.seed + 3)
        teacher = self._frozen_teacher()
        student, prepared = matching.prepare(
            self.diffusion,
            velocity(teacher),
            load_denoiser(self.out / "scratch"),
            source,
            plan,
            self._scaled(PAIRS_SCHEDULE),
        )
        student, matched = matching.distil(
            self.diffusion,
            velocity(teacher, MATCHING_GUIDANCE),
            load_denoiser(self.out / "scratch"),
            student,
            source,
            plan,
            self._scaled(MATCHING_SCHEDULE),
        )
        record = {"pairs": prepared.record(), "matching": matched.record()}
        self._save(student, "matching", record)

    def look(self) -> None:
        """Write the contact sheet, and beside each generator what a quick look at it shows."""
        classifier = load_classifier(self.out / "classifier")
        count = max(SHOWN, round(LOOK * min(1.0, self.scale)))
        made: dict[str, Digits] = {}
        for name, use in USES.items():
            made[name] = generated(load_generator(self.out / name), count)
            teachers = None if name == "teacher" else made["teacher"]
            figures = quick_look(made[name], teachers, classifier)
            write_record(self.out / name, {"look": figures})
            shown = "  ".join(f"{figure} {value:.3f}" for figure, value in figures.items())
            say(f"{name:<12}{use.steps:>3} steps  {shown}")
        few = (np.arange(CLASSES)[:, None] * count + np.arange(SHOWN)).ravel()
        shown_images = {name: digits.images[few] for name, digits in made.items()}
        write_sheet(shown_images, self.out / "sheet.png")

    def _denoiser(
        self, name: str, shape: Shape, schedule: Schedule, seed: int, label_dropout: float
    ) -> None:
        model, progress = train(
            name,
            new_denoiser(shape, seed),
            batches(self.images, schedule.batch, seed),
            denoising(self.diffusion, label_dropout),
            self._scaled(schedule),
        )
        self._save(model, name, progress.record())

    def _save(self, model: UNet2DModel, name: str, record: dict[str, Any]) -> None:
        save_generator(model, USES[name], self.out / name, {"seed": self.seed, **record})

    def _frozen_teacher(self) -> UNet2DModel:
        return load_denoiser(self.out / "teacher").requires_grad_(False)

    def _scaled(self, schedule: Schedule) -> Schedule:
        return replace(schedule, steps=max(2, round(schedule.steps * self.scale)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what was asked for, then look at all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument(
        "--out", type=Path, default=SUITE / "models" / "images", help="folder of the models"
    )
    parser.add_argument("--data", type=Path, default=SUITE / "data", help="folder of the reference")
    parser.add_argument("--seed", type=int, default=1, help="seed of the students")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the steps, for a trial")
    parser.add_argument("--threads", type=int, default=1, help="cores to use")
    options = parser.parse_args(arguments)
    unknown = set(options.models) - set(MODELS)
    if unknown:
        parser.error(f"no model named {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")

    torch.set_num_threads(options.threads)
    write_reference(options.data)
    recipe = Recipe(options.out, options.seed, options.scale)
    for name in MODELS:
        if name in (options.models or MODELS):
            getattr(recipe, name)()
    recipe.look()


if __name__ == "__main__":
    main()
