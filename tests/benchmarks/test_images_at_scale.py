"""Peak memory of every score of a whole set at 50,000 images, through the store, in a process of its own.

Eleven minutes of one core, most of them the products of all pairs. The real images are 10,000, as in the
protocols of precision and recall; their number lengthens the work and not what is held at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys, time
from pathlib import Path
import numpy as np
from kdbench.metrics import cmmd, frechet, kid, prdc, vendi
from kdbench.models.reference import Reference
from kdbench.tasks.images.feature_store import FeatureStore
from kdbench.tasks.images.metrics import parsed
from kdbench.tasks.images.set_scores import FeatureSet, folds_of, score

folder, count, real_count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
BLOCK = 2000

def peak(forget=False):
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

def stored(name, width, images, scale):
    rng, store = np.random.default_rng(len(name)), FeatureStore(folder, name, width)
    for start in range(0, images, BLOCK):
        places = range(start, min(images, start + BLOCK))
        store.write(places, scale * rng.normal(size=(len(places), width)).astype(np.float32))
    return store.read(range(images))

start = peak(forget=True)
found = {}
for width, names in (
    (2048, ("fid", "fid_infinity", "vendi", "kid_100x1000", "kid", "prdc")), (768, ("cmmd",)),
):
    rows = stored(f"generated{width}", width, count, 1.05)
    real = stored(f"real{width}", width, real_count, 1.0)
    prompts = range(count)
    reference = Reference(folder, "0", None, None, real, real_count)
    given = FeatureSet(rows, folds_of(prompts), prompts, reference)
    for name in names:
        peak(forget=True)
        began = time.process_time()
        (asked,) = parsed([name], None)[0]
        told = score(asked, given)
        numbers = {metric: one.estimate.value for metric, one in told.items()}
        found[name] = {"seconds": time.process_time() - began, "mib": peak() - start, **numbers}
        print(json.dumps({name: found[name]}), file=sys.stderr, flush=True)
print(json.dumps(found))
"""


def measured(folder: Path, count: int, real: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(count), str(real)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_fifty_thousand_images_are_scored_in_three_gigabytes(
    benchmark: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    found = benchmark.pedantic(lambda: measured(tmp_path, 50_000, 10_000), rounds=1, iterations=1)
    with capsys.disabled():
        for name, one in found.items():
            sys.stdout.write(
                f"\n{name}: {one['mib']:.0f} MiB beyond the start, {one['seconds']:.0f} s"
            )
    assert max(one["mib"] for one in found.values()) < 3 * 1024
