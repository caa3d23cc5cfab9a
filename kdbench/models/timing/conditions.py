"""What a machine was doing while it was timed: recorded with each timing, and warned of where it disturbs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kdbench.models.timing.nvml import NvmlDevice, NvmlMissing, nvml_device
from kdbench.results.hardware import cpu_count

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CLOCK = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")


def conditions(device: Any) -> dict[str, Any]:
    """Threads, affinity, governor, clock and load of the CPU; clocks, cap, throttling and neighbours of a
    GPU. What the system does not tell is left out, but for NVML, whose absence has its reason."""
    import torch

    found = {"threads": torch.get_num_threads(), **of_cpu()}
    if str(device).startswith("cuda"):
        try:
            found["gpu"] = of_gpu(nvml_device(device))
        except NvmlMissing as error:
            found["gpu"] = {"skipped": str(error)}
    return found


def of_cpu() -> dict[str, Any]:
    """The part that is there whatever is timed."""
    found: dict[str, Any] = {
        "cores": cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
    }
    if hasattr(os, "sched_getaffinity"):
        found["affinity"] = sorted(os.sched_getaffinity(0))
    for name, place in (("governor", _GOVERNOR), ("clock_khz", _CLOCK)):
        if place.is_file():
            found[name] = place.read_text().strip()
    return found


def of_gpu(device: NvmlDevice) -> dict[str, Any]:
    return {**device.conditions(), "others": device.other_processes()}


def warnings(*found: dict[str, Any]) -> list[str]:
    """What of one or more `conditions` makes timings doubtful, in words, each thing said once."""
    said = []
    busiest = max(found, key=lambda one: float(one["load_average"]))
    if busiest["load_average"] > busiest["cores"]:
        said.append(
            f"busy machine: load average {busiest['load_average']:g} on {busiest['cores']} cores"
        )
    for gpu in (one.get("gpu", {}) for one in found):
        for other in gpu.get("others", ()):
            held = other["bytes"]
            memory = "unknown memory" if held is None else f"{held / 2**30:.1f} GiB"
            said.append(f"busy GPU: process {other['pid']} holds {memory} on it")
        if gpu.get("throttled_by"):
            said.append(f"the GPU is throttled by its {', '.join(gpu['throttled_by'])}")
    return list(dict.fromkeys(said))
