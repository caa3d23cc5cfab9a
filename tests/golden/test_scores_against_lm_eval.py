"""Real models: each document scores as in lm-eval with its own model on the same weights."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import published
import pytest
import tiny_models
from lm_eval_parity import ask_kdbench, ask_lm_eval, assert_equal

from kdbench import registry
from kdbench.models.adapter import LoadSettings
from kdbench.tasks.lmeval import index

pytest.importorskip("lm_eval")
pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "suites" / "quickstart"
SHARED = Path(os.environ.get("KDBENCH_SHARED_DATA") or ROOT.parent / "shared" / "data")
SHIPPED = sorted(path.parent.name for path in QUICKSTART.glob("models/*/config.json"))
RECIPES = sorted(path.stem for path in QUICKSTART.glob("tasks/*.yaml"))
NATS = 1e-4
"""How far the two may differ in a log-likelihood: batches of other shapes round differently."""


@pytest.fixture(scope="module", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("datasets")
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder))
        yield


def load(folder: Path) -> tuple[Any, Any]:
    """The weights in `folder` through kdbench's adapter and through lm-eval's."""
    from lm_eval.models.huggingface import HFLM

    adapter = registry.adapters.get("transformers")
    settings = LoadSettings(dtype="float32", device="cpu", batch_size=8)
    ours = adapter(adapter.Params(path=str(folder)), folder, settings).load()
    theirs = HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=8)
    return ours, theirs


@pytest.fixture(scope="module", params=["random", *SHIPPED])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "random":
        return load(tiny_models.save_model(tmp_path_factory.mktemp("random"), context=512))
    return load(QUICKSTART / "models" / request.param)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_quickstart_scores_as_in_lm_eval(
    recipe: str, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = models
    path = QUICKSTART / "tasks" / f"{recipe}.yaml"
    monkeypatch.chdir(path.parent)  # where lm-eval looks for relative data files
    task, samples = ask_kdbench(path, ours, limit=40, block=32)
    assert_equal(task, samples, ask_lm_eval(path, theirs, limit=40), NATS, relative=2 * NATS)


@pytest.fixture(scope="module")
def smollm2() -> Any:
    return load(published.smollm2_folder())


PUBLISHED: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "gsm8k": (
        "gsm8k/gsm8k.yaml",
        {"train": "gsm8k/test.jsonl", "test": "gsm8k/test.jsonl"},
        {"num_fewshot": 2, "gen_kwargs": {"max_gen_toks": 40}},
    ),
    "hellaswag": (
        "hellaswag/hellaswag.yaml",
        dict.fromkeys(("train", "validation"), "hellaswag/validation_first1000.jsonl"),
        {},
    ),
    "mmlu_astronomy": (
        "mmlu/default/mmlu_astronomy.yaml",
        {"dev": "mmlu/astronomy_dev.jsonl", "test": "mmlu/astronomy_test.jsonl"},
        {"num_fewshot": 3},
    ),
}


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_published_model_scores_as_in_lm_eval_on_published_documents(
    name: str, smollm2: Any, tmp_path: Path
) -> None:
    recipe, files, options = PUBLISHED[name]
    if missing := [file for file in files.values() if not (SHARED / file).is_file()]:
        pytest.skip(f"{missing[0]} is not in {SHARED}; set KDBENCH_SHARED_DATA to where it is")
    places = {split: str(SHARED / file) for split, file in files.items()}
    path = tmp_path / f"{name}.yaml"
    path.write_text(
        f"include: {index.tasks_folder() / recipe}\n"
        f"dataset_path: json\ndataset_name: null\n"
        f"dataset_kwargs: {json.dumps({'data_files': places})}\n",
        encoding="utf-8",
    )
    ours, theirs = smollm2
    task, samples = ask_kdbench(path, ours, limit=12, block=12, **options)
    logged = ask_lm_eval(path, theirs, limit=12, **options)
    assert task.label == f"reasoning/{name}"
    assert_equal(task, samples, logged, NATS, relative=2 * NATS)
