"""The machine, in words that a reader of a table understands."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path


@cache
def cpu_name() -> str:
    """Processor model without trade marks and filler ("Intel Xeon Platinum 8481C")."""
    raw = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        match = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(errors="replace"), re.M)
        raw = match.group(1) if match else raw
    raw = re.sub(r"\((R|TM|r|tm)\)|\bCPU\b|\bProcessor\b|@.*$", " ", raw)
    return " ".join(raw.split())


def cpu_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def gpus() -> tuple[dict[str, str], ...]:
    """NVIDIA devices as the driver lists them: name, memory, driver; empty where there are none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    answer = subprocess.run(
        [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    if answer.returncode != 0:
        return ()
    rows = [[part.strip() for part in line.split(",")] for line in answer.stdout.splitlines()]
    return tuple(
        {"name": row[0], "memory": row[1], "driver": row[2]} for row in rows if len(row) == 3
    )


def hardware_id(device: str = "auto") -> str:
    """Human-readable identity of what a cell runs on: "NVIDIA H200" or "Intel Xeon x2".

    `device` is a torch device or "auto" (the first GPU where there is one).
    """
    cards = gpus()
    if device.startswith("cuda") or (device == "auto" and cards):
        index = int(device.partition(":")[2] or 0)
        return cards[index]["name"] if index < len(cards) else f"GPU {index}"
    if device in ("auto", "cpu"):
        return f"{cpu_name()} x{cpu_count()}"
    return f"{cpu_name()} {device}"
