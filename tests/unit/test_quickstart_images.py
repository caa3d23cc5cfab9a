"""The quickstart's image models: the recipe's arithmetic, the reference images, and what was shipped."""

from __future__ import annotations

import importlib
import io
import json
import sys
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

SUITE = Path(__file__).resolve().parents[2] / "suites" / "quickstart"
MODELS = SUITE / "models" / "images"
GENERATORS = ("teacher", "scratch", "progressive", "matching")


@pytest.fixture(scope="module")
def toypix() -> SimpleNamespace:
    """Import the recipe's modules, which live outside any installed package."""
    sys.path.insert(0, str(SUITE / "recipe"))
    try:
        names = ("classifier", "diffusion", "digits", "files", "matching", "models", "progressive",
                 "scores", "training")  # fmt: skip
        return SimpleNamespace(
            train_images=importlib.import_module("train_images"),
            **{name: importlib.import_module(f"toypix.{name}") for name in names},
        )
    finally:
        sys.path.remove(str(SUITE / "recipe"))


@pytest.fixture(scope="module")
def diffusion(toypix: SimpleNamespace) -> Any:
    return toypix.diffusion.Diffusion.of(toypix.models.new_scheduler())


@pytest.fixture(scope="module")
def made(toypix: SimpleNamespace) -> dict[str, Any]:
    """A few images of each digit by every shipped generator, from the same noises."""
    return {
        name: toypix.scores.generated(toypix.files.load_generator(MODELS / name), 2)
        for name in GENERATORS
    }


@pytest.fixture(scope="module")
def judge(toypix: SimpleNamespace) -> Any:
    return toypix.files.load_classifier(MODELS / "classifier")


def bent(noisy: torch.Tensor, steps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A velocity that depends on all that a network sees, in double precision."""
    return torch.tanh(noisy) * (1 + steps.view(-1, 1, 1, 1) / 500) - labels.view(-1, 1, 1, 1) / 10


def test_the_shipped_reference_is_what_the_recipe_writes(
    toypix: SimpleNamespace, tmp_path: Path
) -> None:
    written = toypix.digits.write_reference(tmp_path)
    assert written.read_bytes() == (SUITE / "data" / "digits.zip").read_bytes()


def test_the_reference_holds_sixty_of_each_digit_and_none_that_was_trained_on(
    toypix: SimpleNamespace,
) -> None:
    trained, held_out = toypix.digits.split()
    with zipfile.ZipFile(SUITE / "data" / "digits.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        images = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]
        table = archive.read("metadata.csv").decode().splitlines()
    assert Counter(name[0] for name in names) == {str(digit): 60 for digit in range(10)}
    assert table == ["file_name,label", *(f"{name},{name[0]}" for name in names)]
    assert np.array_equal(np.stack(images), held_out.images)
    seen = {image.tobytes() for image in trained.images}
    assert len(trained.images) == 1797 - 600
    assert not seen & {image.tobytes() for image in images}


def test_pixels_come_back_as_the_levels_that_they_were(toypix: SimpleNamespace) -> None:
    trained, _ = toypix.digits.split()
    pixels = trained.pixels()
    assert pixels.min() == -1 and pixels.max() == 1
    assert np.array_equal(((pixels[:, 0] + 1) * 127.5).round().to(torch.uint8), trained.images)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_the_recipe_samples_as_the_scheduler_of_diffusers_does(
    toypix: SimpleNamespace, diffusion: Any, count: int
) -> None:
    noise = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(5)).double()
    labels = torch.tensor([0, 4, 9])
    scheduler = toypix.models.new_scheduler()
    scheduler.set_timesteps(count)
    images = noise
    for step in scheduler.timesteps:
        found = bent(images, step.expand(3), labels)
        images = scheduler.step(found, step, images).prev_sample
    assert diffusion.grid(count)[:-1].tolist() == scheduler.timesteps.tolist()
    ours = diffusion.sample(bent, noise, labels, count)
    torch.testing.assert_close(ours, images, rtol=1e-5, atol=1e-5)


def test_a_student_without_loss_lands_in_one_step_where_its_teacher_lands_in_two(
    toypix: SimpleNamespace, diffusion: Any
) -> None:
    """Let the student answer the target itself, and walk with it."""
    random = torch.Generator().manual_seed(3)
    batch = toypix.training.Batch(
        torch.rand(64, 1, 8, 8, generator=random).double() * 2 - 1,
        torch.arange(64) % 10,
        torch.randn(64, 1, 8, 8, generator=random).double(),
        random,
    )
    grid = diffusion.grid(8)
    asked: dict[str, torch.Tensor] = {}

    def student(noisy: torch.Tensor, steps: torch.Tensor, class_labels: torch.Tensor) -> Any:
        asked.update(noisy=noisy, steps=steps)
        return SimpleNamespace(sample=answer if "answer" in asked else torch.zeros_like(noisy))

    loss = toypix.progressive.halving(diffusion, bent, 4)
    state = random.get_state()
    assert loss(student, batch) > 0
    steps, noisy = asked["steps"], asked["noisy"]
    index = torch.searchsorted(-grid, -steps)
    middle, later = grid[index + 1], grid[index + 2]
    assert set(steps.tolist()) == set(diffusion.grid(4)[:-1].tolist())
    half = diffusion.ddim(noisy, steps, middle, bent(noisy, steps, batch.labels))
    there = diffusion.ddim(half, middle, later, bent(half, middle, batch.labels))
    a, s = diffusion.levels(steps)
    later_a, later_s = diffusion.levels(later)
    # one step goes to (later_a a + later_s s) x + (later_s a - later_a s) v
    answer = (there - (later_a * a + later_s * s) * noisy) / (later_s * a - later_a * s)
    asked["answer"] = answer
    random.set_state(state)
    assert loss(student, batch) < 1e-8


def test_matching_pulls_from_where_the_fake_score_points_to_where_the_teacher_points(
    toypix: SimpleNamespace, diffusion: Any
) -> None:
    pull, matching = toypix.matching._pull, toypix.matching.Matching()
    images = torch.zeros(32, 1, 8, 8)
    random = torch.Generator().manual_seed(1)
    batch = toypix.training.Batch(images, torch.zeros(32, dtype=torch.long), images, random)

    def towards(level: float) -> Any:
        """The velocity of a score that is sure that every pixel is ``level``."""

        def velocity(noisy: torch.Tensor, steps: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            a, s = diffusion.levels(steps)
            return (a * noisy - level) / s

        return velocity

    bright, dark = towards(0.5), towards(-0.5)
    assert pull(diffusion, bright, bright, images, batch, matching).abs().max() == 0
    pulled = pull(diffusion, bright, dark, images, batch, matching)
    # the way from -0.5 to 0.5, over the teacher's distance from the image, 0.5
    torch.testing.assert_close(pulled, torch.full_like(images, 2.0), rtol=1e-3, atol=1e-3)


def test_guidance_leads_away_from_the_answer_without_a_label(toypix: SimpleNamespace) -> None:
    def network(noisy: torch.Tensor, steps: torch.Tensor, class_labels: torch.Tensor) -> Any:
        return SimpleNamespace(sample=class_labels.view(-1, 1, 1, 1).float().expand_as(noisy))

    noisy, labels = torch.zeros(2, 1, 8, 8), torch.tensor([3, 5])
    guided = toypix.diffusion.velocity(network, 1.5)(noisy, labels * 100, labels)
    none = toypix.models.NO_LABEL
    assert guided[:, 0, 0, 0].tolist() == [none + 1.5 * (3 - none), none + 1.5 * (5 - none)]


def test_shipped_generators_know_their_steps_and_stay_under_eight_megabytes(
    toypix: SimpleNamespace,
) -> None:
    for name in GENERATORS:
        index = json.loads((MODELS / name / "model_index.json").read_text())
        use = toypix.models.USES[name]
        assert index["_class_name"] == "ClassConditionalPipeline"
        assert (index["num_inference_steps"], index["guidance_scale"]) == (use.steps, 1.0)
        assert index["null_label"] == use.null_label
    assert sum(file.stat().st_size for file in MODELS.rglob("*") if file.is_file()) < 8e6


def test_the_classifier_reads_digits_that_it_has_not_seen(
    toypix: SimpleNamespace, judge: Any
) -> None:
    _, held_out = toypix.digits.split()
    features, found = toypix.classifier.features_and_answers(judge, held_out.pixels())
    assert features.shape == (600, 48)
    assert (found == held_out.classes()).float().mean() > 0.98


def test_the_processor_prepares_images_as_the_classifier_was_trained(
    toypix: SimpleNamespace, judge: Any
) -> None:
    from transformers import AutoImageProcessor

    _, held_out = toypix.digits.split()
    processor = AutoImageProcessor.from_pretrained(MODELS / "classifier", use_fast=False)
    coloured = [np.stack([image] * 3, axis=-1) for image in held_out.images[::20]]
    with torch.no_grad():
        logits = judge(**processor(coloured, return_tensors="pt")).logits
    assert (logits.argmax(1).numpy() == held_out.labels[::20]).mean() > 0.9


@pytest.mark.parametrize("name", GENERATORS)
def test_shipped_generators_draw_the_digit_asked_for(
    toypix: SimpleNamespace, made: dict[str, Any], judge: Any, name: str
) -> None:
    """Loose bounds: how good each one is stands in the results, not here."""
    figures = toypix.scores.quick_look(made[name], None, judge)
    assert figures["as_asked"] > 0.6
    assert len({image.tobytes() for image in made[name].images}) == 20


@pytest.mark.slow
def test_the_image_recipe_trains_every_model_from_one_command(
    toypix: SimpleNamespace, tmp_path: Path
) -> None:
    """A trial of a few steps; whether they suffice is what the shipped results show."""
    out, data, threads = tmp_path / "models", tmp_path / "data", torch.get_num_threads()
    try:
        toypix.train_images.main(["--scale", "0.001", "--out", str(out), "--data", str(data)])
        first = (out / "matching" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
        toypix.train_images.Recipe(out, seed=1, scale=0.001).matching()
    finally:
        torch.set_num_threads(threads)
    assert (data / "digits.zip").is_file()
    assert Image.open(out / "sheet.png").width > 100
    for name in GENERATORS[:3]:
        record = json.loads((out / name / "training.json").read_text())
        assert set(record["look"]) >= {"as_asked", "spread"}
        assert toypix.files.load_generator(out / name).config.num_inference_steps > 0
    assert (out / "classifier" / "model.safetensors").is_file()
    again = (out / "matching" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert again == first, "the same seed gives the same weights"


def test_a_model_that_the_recipe_does_not_know_is_named(
    toypix: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        toypix.train_images.main(["students", "--out", str(tmp_path)])
    assert "no model named students; there are classifier, teacher" in capsys.readouterr().err
