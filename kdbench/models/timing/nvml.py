"""An NVIDIA GPU as its driver's management library sees it (package nvidia-ml-py)."""

from __future__ import annotations

import os
from typing import Any

_REASONS = {
    "nvmlClocksEventReasonSwPowerCap": "power cap",
    "nvmlClocksThrottleReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonSwThermalSlowdown": "software thermal slowdown",
    "nvmlClocksThrottleReasonHwThermalSlowdown": "hardware thermal slowdown",
    "nvmlClocksThrottleReasonHwPowerBrakeSlowdown": "power brake",
}


class NvmlMissing(Exception):
    """There is no NVML to ask, and why."""


class NvmlDevice:
    """One GPU, found by the identity that torch gives it, so that CUDA_VISIBLE_DEVICES is heeded."""

    def __init__(self, uuid: str, library: Any = None) -> None:
        """`uuid` is torch's, without the driver's "GPU-". Raises `NvmlMissing`."""
        self._nvml = library or _library()
        try:
            self._nvml.nvmlInit()
            self._handle = self._nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        except self._nvml.NVMLError as error:
            raise NvmlMissing(f"the driver's NVML does not answer ({error})") from error

    def _asked(self, name: str, *arguments: Any) -> Any:
        """The driver's answer; None where the card does not know."""
        try:
            return getattr(self._nvml, name)(self._handle, *arguments)
        except self._nvml.NVMLError:
            return None

    def joules(self) -> float | None:
        """Energy since the driver was loaded; None for cards without the counter (before Volta)."""
        millijoules = self._asked("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1000

    def conditions(self) -> dict[str, Any]:
        """Clocks (MHz), power cap (W), temperature (C) and what holds the clocks down, as far as known."""
        cap = self._asked("nvmlDeviceGetEnforcedPowerLimit")
        bits = self._asked("nvmlDeviceGetCurrentClocksEventReasons") or 0
        found = {
            "sm_clock_mhz": self._asked("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": self._asked("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_MEM),
            "power_cap_w": None if cap is None else cap / 1000,
            "temperature_c": self._asked(
                "nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU
            ),
            "throttled_by": [
                words for name, words in _REASONS.items() if bits & getattr(self._nvml, name, 0)
            ],
        }
        return {name: value for name, value in found.items() if value is not None}

    def other_processes(self) -> list[dict[str, Any]]:
        """Processes that compute on the device besides this one: pid, and bytes where they are told."""
        running = self._asked("nvmlDeviceGetComputeRunningProcesses") or []
        return [
            {"pid": int(one.pid), "bytes": None if one.usedGpuMemory is None else int(one.usedGpuMemory)}
            for one in running
            if one.pid != os.getpid()
        ]  # fmt: skip


def nvml_device(device: Any) -> NvmlDevice:
    """The NVML side of a torch CUDA device; `NvmlMissing` says why there is none."""
    import torch

    return NvmlDevice(str(torch.cuda.get_device_properties(device).uuid))


def _library() -> Any:
    try:
        import pynvml
    except ImportError:
        raise NvmlMissing(
            "nvidia-ml-py is not installed; install it with: pip install 'kdbench[gpu]'"
        ) from None
    return pynvml
