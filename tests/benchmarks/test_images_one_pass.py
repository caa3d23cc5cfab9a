"""FID, KID, precision and recall, and CLIPScore of PNGs: one pass against the field's tools in turn.

    KDBENCH_IMAGES=500 pytest tests/benchmarks/test_images_one_pass.py --benchmark-enable -s

The same images of 512 x 512, the same Inception and the same CLIP with seeded random weights, the same
numbers. The tools run as their READMEs say, one after the other: clean-fid's FID against the reference's
features, clean-fid's KID (which reads and encodes everything again), features once more for prdc, and CLIP on
every image with its processor. Counted in processor time, as a shared machine's clock says little.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inception_files import write_random_inception
from tiny_pictures import write_images

COUNT = int(os.environ.get("KDBENCH_IMAGES", "50"))
"""500 is what the ratio is told for; the default is what a run of all benchmarks can bear."""
PROMPT = "a picture of nothing"
LAYERS = (
    "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3",
    "MaxPool_2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d",
    "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, benchmark: Any) -> Path:
    """Weights, a CLIP the size of ViT-B/32, and smooth pictures that compress about as photographs do."""
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    import tiny_clip
    from PIL import Image
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    root = tmp_path
    write_random_inception(root / "inception.pth")
    import torch

    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(root / "clip")
    tiny_clip.tokenizer(root / "clip").save_pretrained(root / "clip")
    CLIPImageProcessor().save_pretrained(root / "clip")
    for name, seed in (("real", 0), ("made", 1)):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (COUNT, 48, 48, 3), dtype=np.uint8)
        fine = [
            np.asarray(Image.fromarray(one).resize((512, 512), Image.Resampling.BICUBIC))
            for one in coarse
        ]
        write_images(root / name, fine)
    return root


def test_one_pass_is_faster_than_the_tools_in_turn_and_gives_their_numbers(
    folder: Path, benchmark: Any
) -> None:
    from kdbench.metrics.clip_score import SCALES
    from kdbench.models.encoders.inception import InceptionEncoder
    from kdbench.models.encoders.text_image import HuggingFaceClip
    from kdbench.models.image_files import ImageFiles
    from kdbench.models.judges.cosine import CosineJudge
    from kdbench.tasks.images.metrics import parsed
    from kdbench.tasks.images.one_pass import OnePass
    from kdbench.tasks.images.set_scores import FeatureSet, folds_of, score

    clip = HuggingFaceClip(folder / "clip", "clip", "0")
    encoder = InceptionEncoder(folder / "inception.pth", "clean")
    judge = CosineJudge(clip, SCALES["torchmetrics"])
    look = OnePass({"clean": encoder}, {"clip": judge})
    reference = _reference(ImageFiles(folder / "real"), look)

    def ours() -> dict[str, float]:
        files = ImageFiles(folder / "made")
        seen = look(files.read(files.names), [PROMPT] * COUNT)
        given = FeatureSet(seen.features["clean"], folds_of(range(COUNT)), range(COUNT), reference)
        found = {}
        for asked in parsed(["fid", "kid", "prdc"], None)[0]:
            found |= {name: one.estimate.value for name, one in score(asked, given).items()}
        return found | {"clip": float(np.mean(seen.scores["clip"]))}

    tools = _Tools(folder, reference)
    for step in (
        lambda: look(ImageFiles(folder / "made").read(["00000.png"]), [""]),
        tools.warm_up,
    ):
        step()
    theirs, their_seconds = _timed(tools)
    mine, my_seconds = _timed(lambda: benchmark.pedantic(ours, rounds=1))
    print(  # noqa: T201
        f"\n{COUNT} PNGs of 512 x 512: one pass {my_seconds:.1f} s, the tools in turn "
        f"{their_seconds:.1f} s ({', '.join(f'{k} {v:.1f}' for k, v in tools.seconds.items())}), "
        f"ratio {their_seconds / my_seconds:.2f}"
    )
    assert mine["fid"] == pytest.approx(theirs["fid"], rel=1e-3)
    assert mine["kid"] == pytest.approx(theirs["kid"], rel=1e-3, abs=2e-7)
    for name in ("precision", "recall", "density", "coverage"):
        assert mine[name] == pytest.approx(theirs[name], abs=1.5 / COUNT)
    assert mine["clip"] == pytest.approx(theirs["clip"], abs=0.05)


def _reference(files: Any, look: Any) -> Any:
    from kdbench.models.reference import Reference

    rows = look(files.read(files.names), [PROMPT] * COUNT).features["clean"]
    return Reference(files.path, "0", None, None, rows, len(rows))


class _Tools:
    """clean-fid twice, prdc and CLIP, each reading the folder for itself."""

    def __init__(self, folder: Path, reference: Any) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        from transformers import CLIPModel, CLIPProcessor

        self.folder = folder
        self.seconds: dict[str, float] = {}
        self.real = reference.rows().astype(np.float64)
        weights = str(folder / "inception.pth")
        self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], weights)
        self.clip = CLIPModel.from_pretrained(folder / "clip").eval()
        self.processor = CLIPProcessor.from_pretrained(folder / "clip")

    def warm_up(self) -> None:
        import torch

        self._features(torch.zeros(1, 3, 299, 299))
        self._image(next(self.folder.glob("made/*.png")))

    def __call__(self) -> dict[str, float]:
        found = {}
        for name, tool in (
            ("fid", self._fid), ("kid", self._kid), ("prdc", self._prdc), ("clip", self._clip),
        ):  # fmt: skip
            value, self.seconds[name] = _timed(tool)
            found |= value
        return found

    def _folder_features(self) -> np.ndarray:
        from cleanfid.fid import get_folder_features

        return get_folder_features(
            str(self.folder / "made"), model=self._features, num_workers=0, device="cpu",
            mode="clean", verbose=False,
        )  # fmt: skip

    def _fid(self) -> dict[str, float]:
        from cleanfid.fid import frechet_distance

        made = self._folder_features()
        moments = [(rows.mean(axis=0), np.cov(rows, rowvar=False)) for rows in (made, self.real)]
        return {"fid": float(frechet_distance(*moments[0], *moments[1]))}

    def _kid(self) -> dict[str, float]:
        """clean-fid's sums, over one subset of everything so that nothing is drawn. In float64: kernels of
        about 9 leave a difference of 1e-6 between alike sets, whose sign float32 loses."""
        made = self._folder_features().astype(np.float64)
        count, width = made.shape
        first = (made @ made.T / width + 1) ** 3
        second = (self.real @ self.real.T / width + 1) ** 3
        across = (made @ self.real.T / width + 1) ** 3
        pairs = (first.sum() - np.diag(first).sum() + second.sum() - np.diag(second).sum()) / (
            count - 1
        )
        return {"kid": float((pairs - across.sum() * 2 / count) / count)}

    def _prdc(self) -> dict[str, float]:
        from prdc import compute_prdc

        return compute_prdc(self.real, self._folder_features(), nearest_k=5)

    def _clip(self) -> dict[str, float]:
        """torchmetrics' steps: processor, both towers, 100 times the cosine."""
        scores = [self._image(path) for path in sorted(self.folder.glob("made/*.png"))]
        return {"clip": float(np.mean(scores))}

    def _image(self, path: Path) -> float:
        import torch
        from PIL import Image

        image = Image.open(path).convert("RGB")
        given = self.processor(text=[PROMPT], images=image, return_tensors="pt")
        with torch.no_grad():
            found = self.clip(**given)
        return 100 * float((found.image_embeds * found.text_embeds).sum())

    def _features(self, pixels: Any) -> Any:
        import torch

        x = (pixels - 128) / 128
        with torch.no_grad():
            for name in LAYERS:  # torch-fidelity's own resizing and normalising come before them
                x = getattr(self.network, name)(x)
        return x.flatten(1)


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    found = function()
    return found, time.process_time() - began
