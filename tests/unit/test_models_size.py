"""How large a model is, read from the heads of its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.models.adapter import Size
from kdbench.models.checkpoint import Checkpoint
from kdbench.registry import adapters
from kdbench.suite import load_suite

ROOT = Path(__file__).resolve().parents[2]


def test_the_header_of_safetensors_says_what_torch_counts() -> None:
    from safetensors.torch import load_file

    folder = ROOT / "suites" / "quickstart" / "models" / "forward-kl"
    counted = sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    assert Checkpoint(folder).parameters() == counted


def test_shards_are_added_up(tmp_path: Path) -> None:
    import json

    import torch
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_text("{}")
    save_file({"a": torch.zeros(3, 5)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(7)}, tmp_path / "model-00002-of-00002.safetensors")
    index = {
        "weight_map": {
            "a": "model-00001-of-00002.safetensors",
            "b": "model-00002-of-00002.safetensors",
        }
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert Checkpoint(tmp_path).parameters() == 22


def test_a_shipped_model_knows_its_size_without_loading() -> None:
    suite = load_suite(ROOT / "suites" / "quickstart.yaml")
    size = suite.adapter("forward-kl").size()
    file = ROOT / "suites" / "quickstart" / "models" / "forward-kl" / "model.safetensors"
    assert isinstance(size, Size)
    assert size.weight_bytes == file.stat().st_size
    assert 4 * size.parameters <= size.weight_bytes < 4 * size.parameters + 100_000


@pytest.mark.parametrize("name", ["callable", "openai"])
def test_a_model_without_files_has_no_known_size(name: str, tmp_path: Path) -> None:
    from kdbench.models.adapter import LoadSettings

    cls = adapters.get(name)
    params = {
        "callable": {"target": "m:f", "verbs": ["generate_text"]},
        "openai": {"base_url": "http://x/v1", "model": "m"},
    }
    adapter = cls(cls.Params(**params[name]), tmp_path, LoadSettings())
    assert adapter.size() is None
