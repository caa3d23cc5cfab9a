"""The task `equal_noise`: the teacher draws once, and students are held against what it drew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdbench.errors import TaskError
from kdbench.metrics.following import psnr
from kdbench.models import weights
from kdbench.models.images import Image
from kdbench.results.sample import Sample
from kdbench.tasks.images import equal_noise as module
from kdbench.tasks.images.equal_noise import EqualNoise, EqualNoiseParams
from kdbench.tasks.task import Context


class Painter:
    """Noise from the request's seed, the student's with `error` added; counts what it is asked."""

    def __init__(self, steps: int, side: int = 12, error: int = 0) -> None:
        self.steps, self.asked, self._side, self._error = steps, 0, side, error

    def generate_images(self, requests: Any) -> list[Image]:
        self.asked += len(requests)
        shape = (self._side, self._side, 3)
        noise = [np.random.default_rng(one.seed).integers(0, 200, shape) for one in requests]
        return [(one + self._error).astype(np.uint8) for one in noise]


def _task(folder: Path, **params: Any) -> EqualNoise:
    return EqualNoise(EqualNoiseParams(labels=3, images=6, per_prompt=2, **params), folder)


def _drawn(task: EqualNoise, teacher: Painter, folder: Path) -> Context:
    """What a worker gives to the measurement of a pair, once the basis is there."""
    basis = task.basis()
    own = Context(4, artifacts=folder / "artifacts")
    samples = basis.measure(teacher, basis.items(None), own)
    return Context(
        4, {sample.id: sample for sample in samples}, basis_artifacts=folder / "artifacts"
    )


def test_the_teacher_draws_once_for_all_its_students(tmp_path: Path) -> None:
    task, teacher = _task(tmp_path), Painter(32)
    context = _drawn(task, teacher, tmp_path)
    found: dict[int, list[Sample]] = {}
    for error in (0, 10):
        student = Painter(1, error=error)
        found[error] = task.measure(None, student, task.items(None), context)
        assert student.asked == 6
    assert teacher.asked == 6
    assert [sample.scores["identical"] for sample in found[0]] == [1.0] * 3
    expected = psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 10, np.uint8))
    assert [s.scores["psnr"] for s in found[10]] == pytest.approx([expected] * 3)
    assert found[10][0].extra["steps"] == 1
    assert len(found[10][0].extra["teacher"]) == len(found[10][0].extra["student"]) == 2


def test_the_teachers_images_are_those_of_the_same_conditions_and_noise(tmp_path: Path) -> None:
    task = _task(tmp_path)
    basis = task.basis()
    assert [item.id for item in basis.items(None)] == [item.id for item in task.items(None)]
    assert basis.protocol() == task.conditions.protocol()
    other = _task(tmp_path, gallery=3).basis()
    assert (other.identity(), other.label) == (basis.identity(), basis.label)
    assert not EqualNoise.needs_teacher


def test_images_that_are_missing_or_not_the_drawn_ones_are_told(tmp_path: Path) -> None:
    task = _task(tmp_path)
    context = _drawn(task, Painter(8), tmp_path)
    folder = tmp_path / "artifacts" / "images"
    (folder / "000003.png").write_bytes((folder / "000002.png").read_bytes())
    with pytest.raises(TaskError, match=f"not those that were drawn; delete {tmp_path}"):
        task.measure(None, Painter(1), task.items(None), context)
    (folder / "000003.png").write_bytes(b"\x89PNG")
    with pytest.raises(TaskError, match=r"000003\.png"):
        task.measure(None, Painter(1), task.items(None), context)
    (folder / "000003.png").unlink()
    with pytest.raises(TaskError, match=f"000003.*delete {tmp_path} and run again"):
        task.measure(None, Painter(1), task.items(None), context)


def test_lpips_of_a_pair_is_torchmetrics_of_teacher_and_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    import torchvision
    from torchmetrics.functional.image import lpips

    from kdbench.models.encoders.lpips import LpipsEncoder
    from kdbench.models.resizing import resized

    torch.manual_seed(0)
    backbone = torchvision.models.alexnet(weights=None)
    convolutions = {k: v for k, v in backbone.state_dict().items() if k.startswith("features.")}
    torch.save(convolutions, tmp_path / "alexnet.pth")
    monkeypatch.setattr(weights, "path_of", lambda name: tmp_path / "alexnet.pth")
    monkeypatch.setattr(weights, "digest_of", lambda name: "0" * 64)
    monkeypatch.setattr(weights, "download", lambda name: [])

    task = _task(tmp_path, lpips=True)
    assert module.LPIPS == "torchvision-alexnet" and "AlexNet" in task.protocol()["lpips"]
    teacher, student = Painter(32, side=80), Painter(1, side=80, error=40)
    context = _drawn(task, teacher, tmp_path)
    found = task.measure(None, student, task.items(None), context)
    assert [metric.name for metric in task.metrics()] == ["psnr", "identical", "lpips"]

    peer = lpips._LPIPS(pretrained=True, net="alex", pnet_rand=True)
    peer.net.load_state_dict(
        {name: convolutions["features." + name.partition(".")[2]] for name in peer.net.state_dict()}
    )
    how = LpipsEncoder(tmp_path / "alexnet.pth").resize
    requests = task.conditions.requests(task.items(None), context)
    one, two = (
        resized(model.generate_images(requests), how, "cpu") / 127.5 - 1
        for model in (teacher, student)
    )
    with torch.inference_mode():
        expected = peer.eval()(one, two).flatten().numpy().reshape(3, 2).mean(axis=1)
    assert [sample.scores["lpips"] for sample in found] == pytest.approx(expected, rel=1e-4)
    same = task.measure(None, Painter(1, side=80), task.items(None), context)
    assert [sample.scores["lpips"] for sample in same] == [0.0] * 3
