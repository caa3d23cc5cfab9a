"""`efficiency.image` and `efficiency.classifier`: scripted runs for what the numbers mean, tiny real models
for what is timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pictures
from fake_clock import FakeClock

from kdbench.errors import ModelError
from kdbench.metrics.roofline import Ceilings, Work
from kdbench.models.adapter import LoadSettings
from kdbench.models.classifier import ClassifierAdapter, ClassifierParams
from kdbench.models.diffusers import DiffusersAdapter, DiffusersParams
from kdbench.models.timing import timed
from kdbench.models.timing.batch_run import best, largest
from kdbench.models.timing.rounds import Subject
from kdbench.results.sample import Sample
from kdbench.run.rows import CellView, Header, Pair, table_rows
from kdbench.tasks.efficiency.batches import BatchTask
from kdbench.tasks.efficiency.classifier import EfficiencyClassifier
from kdbench.tasks.efficiency.image import EfficiencyImage
from kdbench.tasks.task import Context, Prediction


@dataclass(eq=False)
class Scripted:
    """A generator of `steps` evaluations of `step` seconds for each image and one decoding; `fixed` seconds
    go into each call whatever its batch."""

    clock: FakeClock
    step: float = 1.0
    steps: int = 4
    decode: float = 0.0
    fixed: float = 0.0
    most: int = 10**6

    @contextmanager
    def time_images(self, batch: int, prompt: str, seed: int) -> Iterator[Any]:
        yield ScriptedRun(self, batch)

    time_classifier = lambda self, batch, seed: self.time_images(batch, "", seed)  # noqa: E731


@dataclass
class ScriptedRun:
    model: Scripted
    batch: int
    device: str = "cpu"

    @property
    def clock(self) -> FakeClock:
        return self.model.clock

    def __call__(self, mark: Callable[[], None]) -> None:
        if self.batch > self.model.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        model = self.model
        model.clock.advance(model.fixed)
        mark()
        model.clock.advance(model.steps * model.step * self.batch)
        mark()
        model.clock.advance(model.decode * self.batch)

    def parts(self, call: Sequence[float]) -> dict[str, float]:
        denoiser = call[1] - call[0]
        found = {"denoiser": denoiser, "denoiser.per_step": denoiser / self.model.steps}
        found["rest"] = call[-1] - denoiser - self.model.decode * self.batch
        return found | ({"decode": call[-1] - call[1]} if self.model.decode else {})

    def facts(self) -> dict[str, float]:
        return {"flops_per_image": 50, "steps": self.model.steps}

    def work(self) -> Work:
        return Work(50.0 * self.batch, 20.0)

    def ceilings(self) -> Ceilings:
        return Ceilings(flops=100.0, bandwidth=100.0)


def task(kind: type[BatchTask] = EfficiencyImage, **params: Any) -> Any:
    given = {"batch": [2], "rounds": 8, "min_seconds": 0} | params
    return kind(kind.Params.model_validate(given), Path())


def measured(own: BatchTask, teacher: Any, student: Any) -> list[Sample]:
    return own.measure(teacher, student, own.items(None), Context(0))


def roles(teacher: Any, student: Any) -> dict[str, Any]:
    return {"teacher": teacher, "student": student}


def rows(own: BatchTask, samples: list[Sample]) -> dict[str, Any]:
    view = CellView(
        own.label, None, "p", own.metrics(), "", "t", "s", "k", "done", "", "Abacus", "", "", {},
        lambda: samples,
    )  # fmt: skip
    header = Header("made", 0, 0.95, [Pair("s", "t", "s", "", None)])
    return {row.metric: row for row in table_rows(header, [view])}


def test_each_part_of_a_pipeline_is_its_formula() -> None:
    clock = FakeClock()
    teacher = Scripted(clock, 1.0, 8, decode=0.5, fixed=0.4)
    found = rows(
        own := task(), samples := measured(own, teacher, Scripted(clock, 1.0, 1, 0.5, 0.4))
    )
    value = lambda name: found[name].value  # noqa: E731
    assert value("latency.teacher") == pytest.approx(0.4 + 16 + 1)
    assert value("denoiser.teacher") == pytest.approx(16)
    assert value("denoiser.per_step.teacher") == pytest.approx(2)
    assert value("denoiser.per_step.teacher") * value("steps.teacher") == value("denoiser.teacher")
    assert value("decode.teacher") == pytest.approx(1)
    assert value("rest.teacher") == pytest.approx(0.4)
    assert value("images_per_second.student") == pytest.approx(2 / (0.4 + 2 + 1))
    assert value("speedup") == pytest.approx(17.4 / 3.4)
    assert value("speedup.per_step") == pytest.approx(1.0)
    assert value("mfu.teacher") == pytest.approx(100 / 17.4 / 100)
    assert value("lower_bound.teacher") == pytest.approx(1.0)
    assert (found["speedup"].ci_low, found["speedup"].n) == (pytest.approx(17.4 / 3.4), 8)
    assert samples[0].extra["steps"] == 1


def test_a_pipeline_without_a_decoder_has_no_decoding_and_says_so() -> None:
    clock = FakeClock()
    found = rows(own := task(), measured(own, Scripted(clock), Scripted(clock, 0.5)))
    assert found["decode.teacher"].status == "skipped"
    assert found["decode.teacher"].reason == "the model has no such part"
    assert found["speedup"].value == pytest.approx(2.0)


def test_drift_between_rounds_leaves_the_speedup_as_it_is() -> None:
    clock = FakeClock(speed=lambda now: 1.0 + 0.3 * (int(now / 40) % 2))
    own = task(rounds=40)
    found = rows(own, measured(own, Scripted(clock, 2.0, 2), Scripted(clock, 1.0, 2)))
    assert found["speedup"].ci_low <= 2.0 <= found["speedup"].ci_high
    assert found["speedup"].value == pytest.approx(2.0, rel=0.02)


def test_the_best_batch_is_each_models_own_and_speedups_are_per_image() -> None:
    clock = FakeClock()
    # a call costs 8 s whatever its batch, so large batches pay until memory ends
    teacher, student = Scripted(clock, fixed=8, most=8), Scripted(clock, fixed=0.0, step=0.5)
    own = task(batch=["best"], most=16)
    found = rows(own, measured(own, teacher, student))
    assert own.label == "efficiency/image/best"
    assert found["batch.teacher"].value == 8 and found["batch.student"].value == 1
    assert found["speedup"].value == pytest.approx(((8 + 4 * 8) / 8) / 2)


def test_the_search_for_the_best_batch_stops_where_nothing_is_gained() -> None:
    clock = FakeClock()
    opened: list[int] = []

    @contextmanager
    def open_run(batch: int) -> Iterator[Any]:
        opened.append(batch)
        yield ScriptedRun(Scripted(clock, fixed=4), batch)

    found = best(open_run, 64)
    assert found.batch == 16  # 32 would make 3 % more
    assert opened == [1, 2, 4, 8, 16, 32]
    assert found.spent == clock.now
    assert best(open_run, 4).batch == 4


def test_a_batch_that_does_not_fit_is_halved_and_the_largest_that_fits_is_told() -> None:
    clock = FakeClock()
    own = task(EfficiencyClassifier, batch=[64])
    found = rows(own, measured(own, Scripted(clock, most=12), Scripted(clock)))
    assert found["batch.teacher"].value == 8 and found["batch.student"].value == 64
    assert (
        found["speedup"].status == "skipped" and "64 images do not fit" in found["speedup"].reason
    )


def test_memory_that_ran_out_inside_an_error_of_the_pipeline_is_seen() -> None:
    clock = FakeClock()

    @contextmanager
    def open_run(batch: int) -> Iterator[Any]:
        try:
            ScriptedRun(Scripted(clock, most=3), batch)(lambda: None)
        except RuntimeError as error:
            raise ModelError("the pipeline can't make these images") from error
        yield ScriptedRun(Scripted(clock), batch)

    assert largest(open_run, 16) == 2


def test_any_other_error_is_not_taken_for_a_lack_of_memory() -> None:
    class Broken(Scripted):
        def time_images(self, *arguments: Any) -> Any:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        measured(task(), Broken(FakeClock()), Scripted(FakeClock()))


def test_a_suite_names_batches_and_gets_a_task_for_each() -> None:
    params = EfficiencyImage.Params.model_validate({"batch": ["best", 1, 2, 16]})
    labels = [EfficiencyImage(p, Path()).label for p in EfficiencyImage.expand(params, Path())]
    assert labels == [f"efficiency/image/{one}" for one in ("b1", "b16", "b2", "best")]
    assert "best batch up to 16" in task(batch=["best"]).protocol()["shape"]


def test_a_prediction_is_the_time_that_the_whole_takes() -> None:
    clock = FakeClock()
    models = Scripted(clock), Scripted(clock, 0.5)
    own = task(min_seconds=500.0)
    predicted = own.predict(roles(*models), own.items(None), Context(0))
    began = clock.now
    measured(own, *models)
    assert predicted.rounds + predicted.warm_up == pytest.approx(clock.now - began, rel=0.25)


def test_the_search_for_the_best_batch_is_foretold_where_it_will_be_done_again() -> None:
    def loaded(clock: FakeClock) -> tuple[Scripted, Scripted]:
        return Scripted(clock, fixed=8, most=8), Scripted(clock, step=0.5)

    clock = FakeClock()
    own = task(batch=["best"], most=16, rounds=6)
    models = loaded(clock)
    predicted = own.predict(roles(*models), own.items(None), Context(0))
    ahead = predicted.rounds + predicted.warm_up
    for again, foretold in (
        (models, ahead),
        (loaded(clock), ahead + sum(predicted.once.values())),
    ):
        began = clock.now
        measured(own, *again)
        assert foretold == pytest.approx(clock.now - began, rel=0.1)
    assert sum(predicted.once.values()) > 0.25 * ahead


def test_a_batch_that_does_not_fit_takes_no_time_to_measure() -> None:
    clock = FakeClock()
    models = roles(Scripted(clock, most=2), Scripted(clock))
    own = task(batch=[8])
    assert own.predict(models, own.items(None), Context(0)) == Prediction()


def generator(folder: Path, **params: Any) -> Any:
    return DiffusersAdapter(
        DiffusersParams(path=str(folder), **params), folder, LoadSettings(device="cpu")
    ).load()


def test_the_parts_of_a_real_pipeline_add_up_and_guidance_counts_twice(tmp_path: Path) -> None:
    folder = tiny_pictures.save_digit_generator(tmp_path / "m", steps=3, guidance=2.0)
    model = generator(folder)
    with model.time_images(2, "", 0) as run:
        call = timed(Subject("m", run), run.clock)
        parts = run.parts(call)
        assert len(call) == 2 * 3 + 1  # a guided step is one call of twice the rows
        assert "decode" not in parts
        assert run.facts()["steps"] == 6
        assert parts["denoiser.per_step"] * 6 == pytest.approx(parts["denoiser"])
        assert parts["denoiser"] + parts["rest"] == pytest.approx(call[-1])
        assert 0 < parts["denoiser"] < call[-1]
        unguided = generator(folder, guidance=1.0)
        with unguided.time_images(2, "", 0) as plain:
            plain(lambda: None)
            assert run.facts()["flops_per_image"] == 2 * plain.facts()["flops_per_image"]
    assert not model.pipeline.unet._forward_hooks


def test_decoding_is_told_apart_from_denoising_and_the_hooks_are_gone_after(tmp_path: Path) -> None:
    folder = tiny_pictures.save_text_to_image(tmp_path / "m")
    model = generator(folder, steps=2, guidance=1.0)
    with model.time_images(2, "", 0) as run:
        parts = run.parts(timed(Subject("m", run), run.clock))
    assert parts["decode"] > 0 and parts["denoiser"] > 0 and parts["rest"] > 0
    assert "decode" not in vars(model.pipeline.vae)


def test_a_pair_of_real_generators_is_timed(tmp_path: Path) -> None:
    teacher = generator(tiny_pictures.save_digit_generator(tmp_path / "t", steps=8))
    student = generator(tiny_pictures.save_digit_generator(tmp_path / "s", steps=1))
    own = task(batch=[1], rounds=6)
    found = rows(own, samples := measured(own, teacher, student))
    assert found["steps.teacher"].value == 8 and found["steps.student"].value == 1
    assert found["speedup"].value > 1.5
    assert samples[0].extra["roofline"]["teacher"]["phases"]["whole"]["mfu"] > 0


def classifier(folder: Path, **params: Any) -> ClassifierAdapter:
    made = ClassifierParams(path=str(folder), **params)
    return ClassifierAdapter(made, folder, LoadSettings(device="cpu"))


def test_a_classifier_says_classes_with_their_probabilities(tmp_path: Path) -> None:
    model = classifier(tiny_pictures.save_classifier(tmp_path / "m")).load()
    images = [np.full((40, 50, 3), level, np.uint8) for level in (0, 90, 250)]
    found = model.classify(images)
    assert len(model.labels) == 10
    for one in found:
        assert sum(one.probabilities) == pytest.approx(1)
        assert one.probabilities[one.label] == max(one.probabilities)
    assert model.classify(images[1:2])[0].probabilities == pytest.approx(found[1].probabilities)


def test_a_student_with_a_head_for_its_teacher_is_a_classifier_like_any_other(
    tmp_path: Path,
) -> None:
    import torch
    from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

    folder = tiny_pictures.save_classifier(tmp_path / "m")
    config = DeiTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=16, num_labels=10,
    )  # fmt: skip
    made = DeiTForImageClassificationWithTeacher(config).eval()
    made.save_pretrained(folder)
    model = classifier(folder).load()
    image = np.full((32, 32, 3), 90, np.uint8)
    with torch.inference_mode():
        heads = made(pixel_values=model.pixels([image]))
    both = (heads.cls_logits + heads.distillation_logits) / 2
    (found,) = model.classify([image])
    assert found.probabilities == pytest.approx(both.double().softmax(-1)[0].tolist(), rel=1e-5)


def test_a_pair_of_real_classifiers_is_timed_and_its_flops_are_the_closed_form(
    tmp_path: Path,
) -> None:
    large = classifier(tiny_pictures.save_classifier(tmp_path / "t", width=96)).load()
    small = classifier(tiny_pictures.save_classifier(tmp_path / "s", width=16)).load()
    own = task(EfficiencyClassifier, batch=[4], rounds=6)
    found = rows(own, measured(own, large, small))
    w = 16  # a 7 x 7 stem of 8 at half size, a pool, then a block of two 3 x 3 and a shortcut
    stem = 3 * 8 * 49 * 16**2
    block = (8 * w * 9 + w * w * 9 + 8 * w) * 8**2
    assert found["flops_per_image.student"].value == 2 * (stem + block + w * 10)
    assert found["speedup"].value > 1
    assert found["images_per_second.student"].value == pytest.approx(
        4 / found["latency.student"].value, rel=0.3
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda at: (at / "preprocessor_config.json").unlink(), "no preprocessor_config.json"),
        (
            lambda at: (at / "model.safetensors").write_bytes(b"x" * 40),
            "(can't load|not a safetensors)",
        ),
        (
            lambda at: (at / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}'),
            "a LlamaForCausalLM is no image classifier",
        ),
    ],
)
def test_a_classifier_that_can_not_be_is_refused(
    tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    folder = tiny_pictures.save_classifier(tmp_path / "m")
    spoil(folder)
    with pytest.raises(ModelError, match=said):
        classifier(folder).load()


def test_a_classifiers_identity_is_its_weights_and_its_preprocessing(tmp_path: Path) -> None:
    one = classifier(tiny_pictures.save_classifier(tmp_path / "a")).fingerprint()
    same = classifier(tiny_pictures.save_classifier(tmp_path / "b")).fingerprint()
    other = classifier(tiny_pictures.save_classifier(tmp_path / "c", seed=1)).fingerprint()
    assert one == same and one["weights"] != other["weights"]
    place = tmp_path / "b" / "preprocessor_config.json"
    place.write_text(place.read_text().replace('"height": 32', '"height": 64'))
    assert classifier(tmp_path / "b").fingerprint()["processor"] != one["processor"]
