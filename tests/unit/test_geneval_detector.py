"""GenEval's detector: converted from mmdet's layout, scored as mmdet scores, tested before it judges."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_mask2former
import torch
from typer.testing import CliRunner

from kdbench.cli import app
from kdbench.errors import ModelError
from kdbench.models.detectors import choice, mask2former, mmdet_checkpoint
from kdbench.models.detectors.coco import CLASSES
from kdbench.models.detectors.detector import Found, self_test
from kdbench.models.detectors.mask2former import Mask2Former, instances, prepared


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_mask2former.save(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def checkpoint(original: Path) -> Path:
    """The same weights in a file as mmdet 2 writes it."""
    place = original / "mmdet.pth"
    torch.save({"meta": {"epoch": 50}, "state_dict": tiny_mask2former.as_mmdet(original)}, place)
    return place


@pytest.fixture(scope="module")
def converted(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    return mmdet_checkpoint.convert(
        checkpoint, folder, tiny_mask2former.SWIN, **tiny_mask2former.SIZES
    )


def test_a_converted_checkpoint_gives_the_same_logits(original: Path, converted: Path) -> None:
    from transformers import Mask2FormerForUniversalSegmentation

    one, other = (
        Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
        for folder in (original, converted)
    )
    pixels = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first, second = one(pixel_values=pixels), other(pixel_values=pixels)
    assert torch.equal(first.class_queries_logits, second.class_queries_logits)
    assert torch.equal(first.masks_queries_logits, second.masks_queries_logits)
    assert first.class_queries_logits.std() > 0.01


def test_merging_pixels_gives_what_mmdets_unfold_gives(original: Path) -> None:
    from transformers import Mask2FormerForUniversalSegmentation

    model = Mask2FormerForUniversalSegmentation.from_pretrained(original).eval()
    ours = next(one for one in model.modules() if type(one).__name__ == "SwinPatchMerging")
    image = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(2))
    found = ours(image.flatten(2).transpose(1, 2), (8, 8))

    theirs = tiny_mask2former.as_mmdet(original)
    merged = torch.nn.functional.unfold(image, 2, stride=2).transpose(1, 2)
    weight, bias = (
        theirs[f"backbone.stages.0.downsample.norm.{one}"] for one in ("weight", "bias")
    )
    merged = torch.nn.functional.layer_norm(merged, (64,), weight, bias)
    expected = merged @ theirs["backbone.stages.0.downsample.reduction.weight"].T
    assert torch.allclose(found, expected, atol=1e-5) and expected.std() > 0.01


def test_windows_are_numbered_alike() -> None:
    assert torch.equal(mmdet_checkpoint.window_index(7), tiny_mask2former.mmdet_window_index(7))


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(
        ModelError, match=r"not a Mask2Former of mmdet 2: the weight backbone\.conv1"
    ):
        mmdet_checkpoint.renamed({"backbone.conv1.weight": torch.zeros(1)})
    (tmp_path / "x.pth").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="no state dict of PyTorch"):
        mmdet_checkpoint.convert(tmp_path / "x.pth", tmp_path / "out")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    name = next(name for name in state if name.endswith("relative_position_index"))
    with pytest.raises(ModelError, match="numbered otherwise"):
        mmdet_checkpoint.renamed({name: state[name].flip(0)})


def test_a_checkpoint_that_lacks_a_weight_is_refused_when_it_is_read(
    checkpoint: Path, tmp_path: Path
) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    del state["panoptic_head.cls_embed.weight"]
    torch.save(state, tmp_path / "part.pth")
    folder = mmdet_checkpoint.convert(
        tmp_path / "part.pth", tmp_path / "out", tiny_mask2former.SWIN, **tiny_mask2former.SIZES
    )
    with pytest.raises(ModelError, match=r"1 weights are missing \(class_predictor\.weight\)"):
        Mask2Former(folder, "tiny", "0")


def test_the_note_of_a_conversion_is_demanded_at_every_load(
    converted: Path, tmp_path: Path
) -> None:
    note = mmdet_checkpoint.checked(converted)
    assert len(note["from"]) == len(note["sha256"]) == 64
    for file in converted.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / mmdet_checkpoint.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match="is not what was converted"):
        mmdet_checkpoint.checked(tmp_path)
    with pytest.raises(ModelError, match="holds no converted detector; `kdbench weights fetch"):
        mmdet_checkpoint.checked(tmp_path / "nowhere")


def test_a_detector_converted_from_another_checkpoint_is_not_genevals(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDBENCH_WEIGHTS", str(tmp_path))
    (tmp_path / f"{mmdet_checkpoint.CHECKPOINT}-converted").symlink_to(converted)
    assert choice.downloads("mmdet") == []
    with pytest.raises(ModelError, match=r"converted from another checkpoint.*expected 743b7d99"):
        choice.load("mmdet")


def test_the_command_names_the_file_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path))
    done = CliRunner().invoke(app, ["weights", "convert-geneval-detector"])
    assert isinstance(done.exception, ModelError)
    assert "weights fetch mask2former-swin-s-mmdet" in str(done.exception)
    asked = ["weights", "convert-geneval-detector", str(checkpoint), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert json.loads(done.stdout)["folder"] == str(tmp_path / "o")


def test_images_are_made_as_large_as_mmdet_makes_them() -> None:
    square = np.full((512, 512, 3), 200, np.uint8)
    pixels, size = prepared([square, square])
    assert size == (800, 800) and pixels.shape == (2, 3, 800, 800)
    wide = np.full((300, 900, 3), 200, np.uint8)
    pixels, size = prepared([wide])
    assert size == (444, 1333) and pixels.shape == (1, 3, 448, 1344)
    grey = (mask2former.GREY / 255 - 0.485) / 0.229
    assert torch.allclose(pixels[0, 0, 444:], torch.tensor(grey)) and pixels[0, 0, 443, 0] > grey


def test_a_score_is_the_class_times_how_sure_the_mask_is() -> None:
    classes = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]))
    masks = torch.full((2, 4, 6), -3.0)
    masks[0, 1:3, 2:5] = 2.0
    found = instances(classes, masks, ("cat", "dog"), most=3)
    sure = torch.sigmoid(torch.tensor(2.0)).item()
    assert [(one.label, round(one.score, 5)) for one in found] == [
        ("cat", round(0.7 * sure, 5)),
        ("dog", 0.0),  # an empty mask is worth nothing
        ("dog", round(0.2 * sure, 5)),  # the same query once more, as another class
    ]
    assert found[0].box == found[2].box == (2.0, 1.0, 5.0, 3.0)
    assert found[1].box == (0.0, 0.0, 0.0, 0.0)
    assert found[0].mask is not None and found[0].mask.sum() == 6
    assert len(instances(classes, masks, ("cat", "dog"))) == 4


def test_images_of_any_size_get_masks_of_their_own_size(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask2former, "SHORT", 64)
    monkeypatch.setattr(mask2former, "LONG", 96)
    detector = Mask2Former(converted, "tiny", "0")
    random = np.random.default_rng(0)
    shapes = [(40, 30, 3), (33, 50, 3), (40, 30, 3)]
    images = [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    found = detector.detect(images)
    assert [{one.mask.shape for one in own} for own in found] == [{s[:2]} for s in shapes]
    assert all(
        len(own) == mask2former.MOST and {o.label for o in own} <= set(CLASSES) for own in found
    )
    (alone,) = detector.detect(images[2:])
    assert [one.score for one in alone] == pytest.approx([one.score for one in found[2]], abs=1e-4)


class Sees:
    """A detector that always sees the same."""

    name, certain = "fake", 0.9

    def __init__(self, *found: Found) -> None:
        self.found = list(found)

    def protocol(self) -> dict[str, str]:
        return {}

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Found]]:
        return [self.found for _ in images]


CAT = Found("cat", 0.95, (100, 20, 400, 290))


def test_a_detector_that_sees_the_cat_passes() -> None:
    self_test(Sees(CAT, Found("dog", 0.4, (0, 0, 9, 9))))


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([], "it gives nothing"),
        ([Found("cat", 0.89, CAT.box)], "it gives cat at 0.890"),
        ([CAT, Found("dog", 0.99, CAT.box)], "it gives dog at 0.990"),
        ([Found("cat", 0.99, (0, 0, 40, 40))], "not in the middle"),
    ],
)
def test_a_detector_that_misses_the_cat_is_refused(seen: list[Found], told: str) -> None:
    with pytest.raises(ModelError, match=f"fails its self-test: .*{told}"):
        self_test(Sees(*seen))


def test_random_weights_fail_the_self_test(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask2former, "SHORT", 64)
    with pytest.raises(ModelError, match="fails its self-test"):
        self_test(Mask2Former(converted, "tiny", "0"))
