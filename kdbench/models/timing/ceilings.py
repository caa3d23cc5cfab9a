"""What the machine can do, measured on the spot: matrix products and copies.

A measurement takes about a second and is remembered beside kdbench's other caches (`KDBENCH_CACHE`), by the
hardware's id, the dtype, the number of threads and torch's version. What a busy machine gives is too low: it
is remembered by this process alone.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from kdbench.errors import StoreError
from kdbench.metrics.roofline import Ceilings
from kdbench.models.file_hash import cache_dir
from kdbench.models.timing.clock import Clock, clock_for
from kdbench.models.timing.conditions import conditions, warnings
from kdbench.models.timing.rounds import Subject, timed
from kdbench.results.files import publish
from kdbench.results.hardware import hardware_id

SECONDS = 0.5
"""How long each of the two is repeated; the fastest call counts."""

_own: dict[Path, Ceilings] = {}
"""What this process has measured."""

_log = logging.getLogger(__name__)


def ceilings(device: Any, dtype: Any, threads: int) -> Ceilings:
    """The ceilings of a torch `device` for a torch `dtype`, from the cache where they are known."""
    import torch

    name = str(device)
    known_by = {
        "hardware": hardware_id(name), "dtype": str(dtype), "torch": torch.__version__,
        "threads": threads if name == "cpu" else 0,
    }  # fmt: skip
    digest = sha256(json.dumps(known_by, sort_keys=True).encode()).hexdigest()[:16]
    note = cache_dir() / "ceilings" / f"{digest}.json"
    if note in _own:
        return _own[note]
    try:
        return Ceilings(**json.loads(note.read_text(encoding="utf-8"))["ceilings"])
    except (OSError, ValueError, KeyError, TypeError):
        before = warnings(conditions(device))
        found = _own[note] = measured(device, dtype)
    if not before:
        _remember(note, {**known_by, "ceilings": asdict(found)})
    return found


def measured(device: Any, dtype: Any) -> Ceilings:
    """The fastest of several square matrix products and of several copies that no cache holds."""
    import torch

    on_gpu = torch.device(device).type == "cuda"
    clock = clock_for(device)
    side = 8192 if on_gpu else 512  # a call short enough to fall between a neighbour's turns
    one = torch.randn((side, side), device=device).to(dtype)
    other = one.clone()
    flops = 2 * side**3 / _fastest(lambda: torch.matmul(one, other), clock)
    count = (1 << 30) if on_gpu else (1 << 26)
    source = torch.zeros(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * count / _fastest(lambda: target.copy_(source), clock)
    return Ceilings(flops, bandwidth)


def _fastest(call: Any, clock: Clock) -> float:
    subject = Subject("ceiling", lambda mark: call())
    timed(subject, clock)
    taken: list[float] = []
    while len(taken) < 3 or (sum(taken) < SECONDS and len(taken) < 100):
        taken.append(timed(subject, clock)[-1])
    return min(taken)


def _remember(note: Path, known: dict[str, Any]) -> None:
    try:
        publish(note, (json.dumps(known, indent=1) + "\n").encode())
    except StoreError as error:  # it costs a second at the next run and nothing else
        _log.info("the machine's ceilings can't be remembered in %s: %s", note, error)
