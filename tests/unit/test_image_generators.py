"""The diffusers adapter: noise by seeds, evaluations counted, files judged and hashed without loading."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_pictures import save_digit_generator, save_text_to_image

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.diffusers import DiffusersAdapter, DiffusersParams
from kdbench.models.images import ImageRequest, checked, to_uint8

LABELS = [ImageRequest("", index % 10, 100 + index) for index in range(5)]
PROMPTS = [ImageRequest(text, None, 7 + index) for index, text in enumerate(["a cat", "a dog", ""])]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_digit_generator(tmp_path_factory.mktemp("digits") / "m", steps=4, guidance=2.0)


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_to_image(tmp_path_factory.mktemp("painter") / "m")


def _adapter(path: Path, batch_size: int | None = None, **params: Any) -> DiffusersAdapter:
    made = DiffusersParams(path=path.name, **params)
    return DiffusersAdapter(made, path.parent, LoadSettings(batch_size=batch_size))


def _images(path: Path, requests: list[ImageRequest], **params: Any) -> tuple[np.ndarray, int]:
    model = _adapter(path, **params).load()
    return np.stack(model.generate_images(requests)).astype(int), model.steps


@pytest.mark.parametrize("scheduler", [None, "LCMScheduler", "EulerAncestralDiscreteScheduler"])
def test_an_image_does_not_depend_on_its_batch(digits: Path, scheduler: str | None) -> None:
    params = {"scheduler": scheduler, "steps": 3, "guidance": 1.0}
    together, _ = _images(digits, LABELS, batch_size=5, **params)
    alone, _ = _images(digits, LABELS, batch_size=1, **params)
    backwards, _ = _images(digits, LABELS[::-1], batch_size=2, **params)
    assert abs(together - alone).max() <= 1  # one level: sums in another order
    assert abs(together - backwards[::-1]).max() <= 1
    assert abs(together[0] - together[1]).max() > 1


def test_teacher_and_student_begin_from_the_same_noise_at_any_number_of_steps(
    digits: Path, tmp_path: Path
) -> None:
    student = save_digit_generator(tmp_path / "student", seed=1, steps=1)
    begun = []
    for path, steps in ((digits, 4), (student, 1), (student, 2)):
        model = _adapter(path, steps=steps, guidance=1.0).load()
        seen: list[Any] = []
        model.pipeline.unet.register_forward_pre_hook(
            lambda module, given, seen=seen: seen.append(given[0].clone())
        )
        model.generate_images(LABELS)
        begun.append(seen[0].numpy())
    assert (begun[0] == begun[1]).all() and (begun[0] == begun[2]).all()
    assert not (begun[0][0] == begun[0][1]).all()


@pytest.mark.parametrize(
    ("params", "steps"),
    [
        ({}, 8),  # the pipeline's own: four steps, guided
        ({"guidance": 1.0}, 4),
        ({"steps": 2}, 4),
        ({"guidance": 1.0, "timesteps": [900, 400, 100], "scheduler": "LCMScheduler"}, 3),
        ({"guidance": 1.0, "steps": 3, "scheduler": "HeunDiscreteScheduler"}, 5),
    ],
)
def test_evaluations_are_counted_with_guidance_and_higher_orders(
    digits: Path, params: dict[str, Any], steps: int
) -> None:
    assert _images(digits, LABELS[:2], **params)[1] == steps


def test_a_text_to_image_pipeline_paints_prompts(painter: Path) -> None:
    guided, twice = _images(painter, PROMPTS, steps=2, guidance=7.5)
    plain, once = _images(painter, PROMPTS, steps=2, guidance=1.0)
    other, _ = _images(painter, [ImageRequest("a bee", None, 7)], steps=2, guidance=7.5)
    assert (twice, once) == (4, 2)
    assert guided.shape == (3, 8, 8, 3)
    assert (guided != plain).any()
    assert (other[0] != guided[0]).any()


def test_a_lora_and_a_replaced_component_change_images_and_fingerprint(
    painter: Path, tmp_path: Path
) -> None:
    import torch
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipeline = StableDiffusionPipeline.from_pretrained(painter)
    pipeline.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]))
    torch.manual_seed(3)
    for name, weight in pipeline.unet.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(weight)
    layers = get_peft_model_state_dict(pipeline.unet)
    StableDiffusionPipeline.save_lora_weights(tmp_path / "lora", unet_lora_layers=layers)
    other = save_text_to_image(tmp_path / "other", seed=5)

    ways: list[dict[str, Any]] = [
        {}, {"lora": str(tmp_path / "lora")}, {"lora": str(tmp_path / "lora"), "lora_scale": 0.5},
        {"components": {"unet": str(other / "unet")}},
    ]  # fmt: skip
    images = [_images(painter, PROMPTS[:1], steps=2, **way)[0] for way in ways]
    prints = [_adapter(painter, **way).fingerprint() for way in ways]
    for one in range(len(ways)):
        for two in range(one):
            assert (images[one] != images[two]).any()
            assert prints[one] != prints[two]


def test_the_fingerprint_knows_what_changes_an_image_and_not_where_it_lies(
    digits: Path, tmp_path: Path
) -> None:
    first = _adapter(digits).fingerprint()
    moved = tmp_path / "moved"
    shutil.copytree(digits, moved)
    assert _adapter(moved).fingerprint() == first
    for params in (
        {"steps": 1}, {"guidance": 1.5}, {"scheduler": "DDPMScheduler"},
        {"scheduler_options": {"eta": 1}}, {"options": {"output_type": "pil"}},
    ):  # fmt: skip
        assert _adapter(digits, **params).fingerprint() != first
    scheduler = moved / "scheduler" / "scheduler_config.json"
    config = json.loads(scheduler.read_text())
    scheduler.write_text(json.dumps({**config, "_diffusers_version": "0.1"}))
    assert _adapter(moved).fingerprint() == first
    scheduler.write_text(json.dumps({**config, "timestep_spacing": "leading"}))
    assert _adapter(moved).fingerprint() != first
    size = _adapter(digits).size()
    assert size is not None
    assert size.parameters == sum(
        p.numel() for p in _adapter(digits).load().pipeline.unet.parameters()
    )


def _pickled(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def _own_code(folder: Path) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": ["my", "Pipe"]}))


def _own_component(folder: Path) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "unet": ["my_unet", "UNet"]}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_pickled, "pickle"),
        (_own_code, "code of its own repository"),
        (_own_component, "code of its own repository"),
        (lambda folder: shutil.rmtree(folder / "unet"), "component unet is missing"),
        (lambda folder: (folder / "model_index.json").unlink(), "no model_index.json"),
        (lambda folder: (folder / "unet" / "config.json").write_text("{"), "not JSON"),
    ],
)
def test_a_folder_that_can_not_be_used_is_told_before_it_is_loaded(
    digits: Path, tmp_path: Path, damage: Any, message: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(digits, folder)
    damage(folder)
    adapter = _adapter(folder)

    def look() -> None:
        adapter.check()
        adapter.fingerprint()

    with pytest.raises(ModelError, match=message):
        look()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scheduler": "LCMSchduler"}, "did you mean 'LCMScheduler'"),
        ({"scheduler_options": {"spacing": 1}}, "no option 'spacing'"),
        ({"options": {"height": 8}}, "takes no height"),
        ({"options": {"generator": None}}, "the task's to give"),
        ({"components": {"transformer": "elsewhere"}}, "elsewhere"),
    ],
)
def test_settings_that_the_pipeline_does_not_have_are_refused(
    digits: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        _adapter(digits, **params).load()


def test_contradictions_in_a_suite_are_refused() -> None:
    with pytest.raises(ValidationError, match="contradict"):
        DiffusersParams(path="x", steps=2, timesteps=[999])
    with pytest.raises(ValidationError, match="no image's seed reaches"):
        DiffusersParams(path="x", scheduler="DPMSolverSDEScheduler")
    with pytest.raises(ValidationError, match="lora_file"):
        DiffusersParams(path="x", lora_file="a.safetensors")


def test_requests_must_fit_the_pipeline(digits: Path, painter: Path) -> None:
    labelled, painting = _adapter(digits).load(), _adapter(painter, steps=1).load()
    with pytest.raises(ModelError, match="the task gives none"):
        labelled.generate_images([ImageRequest("a cat", None, 1)])
    with pytest.raises(ModelError, match="no class 11"):
        labelled.generate_images([ImageRequest("", 11, 1)])
    with pytest.raises(ModelError, match="takes no labels"):
        painting.generate_images([ImageRequest("", 3, 1)])


def test_a_hub_pipeline_that_is_not_here_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    params = DiffusersParams(path="hf:org/painter", lora="hf:org/fast", lora_file="f.safetensors")
    adapter = DiffusersAdapter(params, tmp_path, LoadSettings())
    adapter.check()
    assert [item.what for item in adapter.downloads()] == [
        "hf:org/painter@main",
        "hf:org/fast@main",
    ]
    assert str(tmp_path) in adapter.downloads()[0].by_hand


def test_a_snapshot_in_the_hub_cache_is_used_as_it_lies(
    painter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--painter"
    shutil.copytree(painter, repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    adapter = DiffusersAdapter(DiffusersParams(path="hf:org/painter"), tmp_path, LoadSettings())
    adapter.check()
    assert adapter.downloads() == []
    assert adapter.fingerprint()["revision"] == "a" * 40
    (repository / "snapshots" / ("a" * 40) / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert [item.what for item in adapter.downloads()] == ["hf:org/painter@main"]


def test_colours_are_rounded_and_answers_checked() -> None:
    levels = to_uint8(np.array([[[0.0], [0.5], [1.2], [0.499 / 255]]]))
    assert levels.tolist() == [[[0] * 3, [128] * 3, [255] * 3, [0] * 3]]
    with pytest.raises(ModelError, match="not finite"):
        to_uint8(np.array([[[np.nan]]]))
    good = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ModelError, match="2 images were asked for, 1 came back"):
        checked([good], LABELS[:2], "mine")
    with pytest.raises(ModelError, match="float64"):
        checked([good.astype(float)], LABELS[:1], "mine")
