"""Peak memory beside lm-eval's HFLM at the same token budget, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from test_scoring_against_hflm import STORY, show

pytestmark = pytest.mark.slow

ROWS, VOCABULARY = 16, 32_000
COMMON = """
import resource, sys
from kdbench.models import torchvision_on_cpu
torchvision_on_cpu.mend()
folder, story, rows, verb = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
import lm_eval.models.huggingface as peer
from lm_eval.api.instance import Instance
from kdbench.models.adapter import LoadSettings
from kdbench.models.protocols import Continuation, Prompt
from kdbench.models.transformers import TransformersAdapter, TransformersParams
texts = [f"{i} {story}" for i in range(rows)]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""
OURS = """
params = TransformersParams(path=folder)
model = TransformersAdapter(params, folder, LoadSettings(device="cpu", batch_size=rows)).load()
before = peak()
if verb == "rolling":
    model.score_rolling(texts)
elif verb == "choices":
    model.score_text([Continuation(text, " an ending") for text in texts])
else:
    model.generate_text([Prompt(text, (), 24) for text in texts])
print(peak() - before)
"""
THEIRS = """
model = peer.HFLM(pretrained=folder, device="cpu", batch_size=rows, dtype="float32")
before = peak()
def asked(kind, arguments):
    return [Instance(kind, {}, given, i) for i, given in enumerate(arguments)]
if verb == "rolling":
    model.loglikelihood_rolling(asked("loglikelihood_rolling", [(t,) for t in texts]))
elif verb == "choices":
    model.loglikelihood(asked("loglikelihood", [(t, " an ending") for t in texts]))
else:
    model.generate_until(asked("generate_until", [
        (text, {"until": ["#####"], "max_gen_toks": 24}) for text in texts
    ]))
print(peak() - before)
"""


def kilobytes(code: str, folder: Path, verb: str) -> int:
    """What a process's peak grew by while the model worked."""
    command = [sys.executable, "-c", COMMON + code, str(folder), STORY * 2, str(ROWS), verb]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ, timeout=300
    )
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize("verb", ["rolling", "choices", "generation"])
def test_the_peak_is_not_above_that_of_hflm(
    verb: str, capsys: pytest.CaptureFixture[str], benchmark: Any, tmp_path: Path
) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    pytest.importorskip("lm_eval")
    folder = tiny_models.save_model(tmp_path / "model", context=512, rows=VOCABULARY)

    def work() -> tuple[int, int]:
        return kilobytes(OURS, folder, verb), kilobytes(THEIRS, folder, verb)

    ours, theirs = benchmark.pedantic(work, rounds=1, iterations=1)
    show(
        capsys,
        f"peak memory, {verb}, {ROWS} rows: {ours / 1024:.0f} MB above the loaded model; HFLM "
        f"{theirs / 1024:.0f} MB",
    )
    assert ours <= theirs
