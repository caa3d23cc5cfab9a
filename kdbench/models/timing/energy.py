"""Counters of energy: the driver's on a GPU, RAPL's on a CPU that lets it be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from kdbench.models.timing.nvml import NvmlDevice, NvmlMissing, nvml_device

RAPL = Path("/sys/class/powercap")
LEAST_SECONDS = 0.5
"""Counters move some ten times a second, so a shorter window would read another one's energy."""


class EnergyMeter(Protocol):
    """A counter that only rises."""

    name: str

    def joules(self) -> float:
        """Energy up to now; only differences mean something."""
        ...


class NoMeter(Exception):
    """Energy can't be measured here, and why."""


class GpuMeter:
    """NVML's total energy counter: the whole card's, other processes included."""

    name = "NVML total energy counter"

    def __init__(self, device: NvmlDevice) -> None:
        self._device = device
        if device.joules() is None:
            raise NoMeter("the GPU has no energy counter (NVIDIA cards have one since Volta)")

    def joules(self) -> float:
        now = self._device.joules()
        if now is None:
            raise NoMeter("the GPU's energy counter stopped answering")
        return now


class RaplMeter:
    """Sum of the packages' RAPL counters, which wrap around; memory is not in it."""

    name = "RAPL packages"

    def __init__(self, root: Path = RAPL) -> None:
        self._zones = sorted(
            zone for zone in root.glob("intel-rapl:*") if zone.name.count(":") == 1
        )
        if not self._zones:
            raise NoMeter("this CPU shows no RAPL counter (virtual machines seldom do)")
        try:
            self._spans = [int((zone / "max_energy_range_uj").read_text()) for zone in self._zones]
            self._last = self._read()
        except OSError as error:
            raise NoMeter(
                f"{error.filename}: {error.strerror}; the system keeps RAPL from this user"
            ) from error
        self._total = 0

    def joules(self) -> float:
        now = self._read()
        for before, after, span in zip(self._last, now, self._spans, strict=True):
            self._total += after - before if after >= before else after + span - before
        self._last = now
        return self._total * 1e-6

    def _read(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]


def energy_meter(device: Any) -> EnergyMeter:
    """The meter of a torch device; `NoMeter` says why there is none."""
    if str(device).startswith("cuda"):
        try:
            return GpuMeter(nvml_device(device))
        except NvmlMissing as error:
            raise NoMeter(str(error)) from error
    return RaplMeter()
