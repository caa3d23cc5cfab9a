"""The suites of the field are right, offline and without a model in sight."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("reasoning-math", {"sampled/minerva_math500", "sampled/aime24", "sampled/aime25"}),
        ("latency-gpu", {"efficiency/text/b32-p960-n64", "efficiency/footprint/b1-p960-n64"}),
        ("llm-general", {"reasoning/mmlu_anatomy", "reasoning/ifeval", "fidelity/hellaswag"}),
        (
            "speculative",
            {"speculative.replay/spec_bench/temperature1", "speculative.loop/mt_bench/greedy"},
        ),
        ("t2i-coco30k", {"images/coco30k", "val2014.zip", "captions.txt"}),
        ("t2i-mjhq30k", {"images/mjhq30k", "equal_noise/mjhq30k", "Sana_Sprint", "imagereward"}),
        ("imagenet-fid50k", {"images/imagenet64", "edm-imagenet-64", "generate.py"}),
        ("geneval", {"images/geneval", "geneval-prompts", "mask2former"}),
        ("code", {"code/humaneval", "code/mbpp"}),
        (
            "imagenet-classifiers",
            {"classification/imagenet-1k", "efficiency/classifier/b32", "ILSVRC/imagenet-1k"},
        ),
    ],
)
def test_validate_names_cells_and_what_would_be_fetched(kdbench, name, labels):
    done = kdbench("validate", name, "--json", DEEPSEEK_API_KEY="none")
    plan = json.loads(done.stdout)
    text = done.stdout
    assert all(label in text for label in labels)
    assert "hf" in text.lower() and plan["downloads"]


def test_the_suite_of_served_models_needs_nothing_but_its_servers(kdbench):
    plan = json.loads(kdbench("validate", "serving", "--json").stdout)
    assert {cell["task"] for cell in plan["cells"]} == {
        f"efficiency/serving/{load}-p512-n128" for load in ("c1", "c8", "c32", "r2", "r8")
    }
    assert not plan["downloads"]


def test_a_key_that_is_not_set_is_asked_for(kdbench):
    done = kdbench("validate", "reasoning-math", code=3, DEEPSEEK_API_KEY="")
    assert "DEEPSEEK_API_KEY" in done.stderr


def test_validate_says_what_runs_generated_code_and_how_that_is_allowed(kdbench):
    assert "kdbench run --allow-code-execution" in kdbench("validate", "code").stdout
    assert json.loads(kdbench("validate", "code", "--json").stdout)["executes_code"] == [
        "code/humaneval",
        "code/mbpp",
    ]
