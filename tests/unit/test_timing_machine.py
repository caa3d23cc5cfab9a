"""Memory of a process, energy counters, conditions and ceilings, and what they say where they are missing."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from kdbench.errors import TaskError
from kdbench.metrics.roofline import Ceilings, Work, lower_bound
from kdbench.models.timing import ceilings as ceilings_module
from kdbench.models.timing import conditions as conditions_module
from kdbench.models.timing import nvml, own_process
from kdbench.models.timing.clock import CudaClock, clock_for
from kdbench.models.timing.energy import GpuMeter, NoMeter, RaplMeter, energy_meter
from kdbench.models.timing.memory import watched
from kdbench.models.timing.text_run import TextShape, out_of_memory

MIB = 1 << 20
HOLD = "import sys, time; held = bytearray(b'x') * {size}; print(flush=True); time.sleep(0.3)"


def _peak(*sizes: int) -> int:
    """Peak of a process that holds the first size, with a child that holds the second."""
    script = HOLD.format(size=sizes[0])
    if len(sizes) > 1:
        child = HOLD.format(size=sizes[1])
        script = (
            f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {child!r}]);"
            f"{script}; child.wait()"
        )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    with watched(process.pid) as seen:
        process.wait()
    return seen.peak


def test_the_peak_of_a_known_allocation_is_measured_within_2_percent() -> None:
    assert _peak(300 * MIB) - _peak(1) == pytest.approx(300 * MIB, rel=0.02)


def test_the_peak_includes_children() -> None:
    assert _peak(100 * MIB, 200 * MIB) - _peak(1, 1) == pytest.approx(300 * MIB, rel=0.02)


PHASES = """
from kdbench.models.timing.memory import Resident
resident = Resident()
held = bytearray(b"x") * (100 << 20)
del held
resident.begin()
before = resident.now()
held = bytearray(b"x") * (50 << 20)
del held
print(resident.peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks can't be reset here")
def test_a_phase_has_a_peak_of_its_own() -> None:
    """In a process of its own: memory that earlier work has given back may be taken again."""
    done = subprocess.run(
        [sys.executable, "-c", PHASES], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == pytest.approx(50 * MIB, rel=0.02)


def test_a_process_that_can_not_load_its_model_says_why(tmp_path: Path) -> None:
    load = {"dtype": "float32", "device": "cpu", "batch_size": None, "trust_remote_code": False}
    source = {"adapter": "transformers", "params": {"path": "nowhere"}, "load": load}
    with pytest.raises(TaskError, match=r"alone failed: ModelError: .*no such folder"):
        own_process.measured_alone(source, str(tmp_path), TextShape(1, 8, 2))


def test_weights_of_a_tiny_model_take_the_bytes_that_they_have(tmp_path: Path) -> None:
    """In this process: a resident set also holds what the libraries take, which is far more."""
    import tiny_models
    import torch

    tiny_models.save_llama(tmp_path / "m", tie_word_embeddings=True)
    tiny_models.save_tokenizer(tmp_path / "m")
    load = {"dtype": "bfloat16", "device": "cpu", "batch_size": None, "trust_remote_code": False}
    order = {"adapter": "transformers", "params": {"path": "m"}, "load": load,
             "folder": str(tmp_path), "shape": {"batch": 1, "prompt_tokens": 8, "new_tokens": 2}}  # fmt: skip
    found = own_process.run(order)
    embedding, layer = 400 * 48, 2 * 48 * 48 + 2 * 48 * 24 + 3 * 48 * 96 + 2 * 48
    weights = 2 * (embedding + 2 * layer + 48)
    buffers = found["weights"] - weights
    assert 0 <= buffers <= 4096  # of rotary frequencies
    assert found["peak"] > 1000 * weights

    tied = torch.nn.Linear(8, 8, bias=False)
    both = torch.nn.ModuleList([tied, torch.nn.Linear(8, 8, bias=False)])
    both[1].weight = tied.weight
    both.register_buffer("view", tied.weight.detach()[:2])
    assert own_process.held_bytes(both) == 8 * 8 * 4


class _NvmlError(Exception):
    pass


def _nvml(**answers: Any) -> Any:
    """The library with scripted answers; what is not scripted is not supported."""

    def ask(name: str) -> Any:
        def call(*_: Any) -> Any:
            if name not in answers:
                raise _NvmlError("Not Supported")
            return answers[name]

        return call

    names = [
        "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetEnforcedPowerLimit",
        "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetTemperature", "nvmlDeviceGetComputeRunningProcesses",
    ]  # fmt: skip
    return SimpleNamespace(
        NVMLError=_NvmlError, NVML_CLOCK_SM=1, NVML_CLOCK_MEM=2, NVML_TEMPERATURE_GPU=0,
        nvmlClocksEventReasonSwPowerCap=4, nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid, **{name: ask(name) for name in names},
    )  # fmt: skip


def test_a_gpu_tells_its_cap_its_throttling_and_who_else_is_on_it() -> None:
    others = [
        SimpleNamespace(pid=1, usedGpuMemory=2 * 2**30),
        SimpleNamespace(pid=2, usedGpuMemory=None),
    ]
    device = nvml.NvmlDevice(
        "abc",
        _nvml(
            nvmlDeviceGetEnforcedPowerLimit=700_000,
            nvmlDeviceGetCurrentClocksEventReasons=4,
            nvmlDeviceGetComputeRunningProcesses=others,
        ),
    )
    found = conditions_module.of_gpu(device)
    assert found["power_cap_w"] == 700
    assert found["throttled_by"] == ["power cap"]
    assert "sm_clock_mhz" not in found
    said = conditions_module.warnings({"load_average": 0.1, "cores": 2, "gpu": found})
    assert said == [
        "busy GPU: process 1 holds 2.0 GiB on it",
        "busy GPU: process 2 holds unknown memory on it",
        "the GPU is throttled by its power cap",
    ]


def test_joules_of_a_gpu_are_the_drivers_millijoules() -> None:
    device = nvml.NvmlDevice("abc", _nvml(nvmlDeviceGetTotalEnergyConsumption=12_345))
    assert GpuMeter(device).joules() == 12.345
    with pytest.raises(NoMeter, match="no energy counter"):
        GpuMeter(nvml.NvmlDevice("abc", _nvml()))


def test_a_missing_nvml_is_a_reason_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(nvml.NvmlMissing, match=r"pip install 'kdbench\[gpu\]'"):
        nvml.NvmlDevice("abc")

    def missing(device: Any) -> Any:
        raise nvml.NvmlMissing("not here")

    monkeypatch.setattr(conditions_module, "nvml_device", missing)
    assert conditions_module.conditions("cuda:0")["gpu"] == {"skipped": "not here"}


def _zone(root: Path, name: str, microjoules: int) -> Path:
    zone = root / name
    zone.mkdir(exist_ok=True)
    (zone / "energy_uj").write_text(f"{microjoules}\n")
    (zone / "max_energy_range_uj").write_text("1000000\n")
    return zone


def test_rapl_counters_of_all_packages_add_up_and_wrap_around(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        _zone(tmp_path, name, 900_000)
    meter = RaplMeter(tmp_path)
    before = meter.joules()
    _zone(tmp_path, "intel-rapl:0", 100_000)  # past its end
    _zone(tmp_path, "intel-rapl:1", 950_000)
    _zone(tmp_path, "intel-rapl:0:0", 999_999)  # a part of package 0, not to be counted twice
    assert meter.joules() - before == pytest.approx(0.25)


def test_a_machine_without_a_counter_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoMeter, match="no RAPL counter"):
        RaplMeter(tmp_path)
    if not Path("/sys/class/powercap").exists():
        with pytest.raises(NoMeter):
            energy_meter("cpu")


def test_ceilings_are_measured_once_for_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path))
    calls: list[Any] = []

    def measure(device: Any, dtype: Any) -> Ceilings:
        calls.append((device, dtype))
        return Ceilings(2e9 + len(calls), 1e9)

    monkeypatch.setattr(ceilings_module, "measured", measure)
    monkeypatch.setattr(ceilings_module, "_own", {})
    monkeypatch.setattr(ceilings_module, "warnings", lambda found: [])
    first = ceilings_module.ceilings("cpu", torch.float32, 1)
    assert ceilings_module.ceilings("cpu", torch.float32, 1) == first
    assert ceilings_module.ceilings("cpu", torch.float32, 2) != first
    assert len(calls) == 2
    monkeypatch.setenv("KDBENCH_CACHE", "/dev/null/nowhere")  # losing it costs time, nothing else
    assert ceilings_module.ceilings("cpu", torch.float32, 1).bandwidth == 1e9


def test_what_a_busy_machine_achieves_is_forgotten_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path))
    found = iter([Ceilings(1e9, 1e9), Ceilings(2e9, 2e9)])
    monkeypatch.setattr(ceilings_module, "measured", lambda *_: next(found))
    monkeypatch.setattr(ceilings_module, "_own", {})
    monkeypatch.setattr(ceilings_module, "warnings", lambda found: ["busy machine"])
    assert ceilings_module.ceilings("cpu", torch.float32, 1).flops == 1e9
    assert ceilings_module.ceilings("cpu", torch.float32, 1).flops == 1e9
    monkeypatch.setattr(ceilings_module, "_own", {})
    assert ceilings_module.ceilings("cpu", torch.float32, 1).flops == 2e9


@pytest.mark.slow
def test_real_ceilings_are_of_the_size_that_another_product_achieves() -> None:
    import torch

    found = ceilings_module.measured("cpu", torch.float32)
    one, taken = torch.randn((256, 256)), []
    for _ in range(50):
        began = time.perf_counter()
        torch.matmul(one, one)
        taken.append(time.perf_counter() - began)
    assert 0.2 < 2 * 256**3 / min(taken) / found.flops < 5
    assert found.bandwidth > 1e8


def test_a_lower_bound_is_the_slower_of_arithmetic_and_memory() -> None:
    machine = Ceilings(flops=100.0, bandwidth=10.0)
    assert lower_bound(Work(200.0, 1.0), machine) == 2.0
    assert lower_bound(Work(1.0, 50.0), machine) == 5.0


def test_lack_of_memory_is_told_from_other_errors() -> None:
    import torch

    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_cuda_clock_waits_only_to_settle_and_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seam to CUDA events: what is called, on what. Not run on a GPU."""
    import torch

    done: list[str] = []

    class Event:
        made = 0

        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            Event.made += 1
            self.at = Event.made

        def record(self, stream: Any) -> None:
            done.append(f"record {self.at} on {stream}")

        def synchronize(self) -> None:
            done.append(f"wait for {self.at}")

        def elapsed_time(self, other: Event) -> float:
            return 1000.0 * (other.at - self.at)

    cuda = SimpleNamespace(
        Event=Event, current_stream=lambda device: f"stream of {device}",
        synchronize=lambda device: done.append(f"settle {device}"),
    )  # fmt: skip
    monkeypatch.setattr(torch, "cuda", cuda)
    clock = clock_for("cuda:1")
    assert isinstance(clock, CudaClock)
    clock.settle()
    stamps = [clock.stamp() for _ in range(3)]
    assert "wait" not in " ".join(done)
    assert clock.seconds(stamps) == [1.0, 2.0]
    assert done == [
        "settle cuda:1", "record 1 on stream of cuda:1", "record 2 on stream of cuda:1",
        "record 3 on stream of cuda:1", "wait for 3",
    ]  # fmt: skip


def test_a_process_that_is_gone_has_the_peak_that_was_seen() -> None:
    with watched(psutil.Process().pid) as seen:
        time.sleep(0.05)
    assert seen.peak > MIB
