"""GPUs, as an NVML that the tests play tells of them."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from trimtab.engines.local.gpu_usage import GpuMeter, GpuReading
from trimtab.engines.local.usage import Subject, UsageMeter

GIB = 2**30


class Nvml:
    """The module pynvml, as far as it is asked: cards by index, each with what it answers or raises."""

    class NVMLError(Exception):
        pass

    def __init__(self, *cards: dict[str, object]) -> None:
        self.cards = list(cards)
        self.opened = self.closed = 0
        self.broken = False

    def nvmlInit(self) -> None:
        if self.broken:
            raise self.NVMLError("Driver Not Loaded")
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.closed += 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, object]:
        if self.broken or index >= len(self.cards):
            raise self.NVMLError("GPU is lost")
        return self.cards[index]

    def nvmlDeviceGetUtilizationRates(self, handle: dict[str, object]) -> SimpleNamespace:
        if "busy" not in handle:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=handle["busy"], memory=1)

    def nvmlDeviceGetMemoryInfo(self, handle: dict[str, object]) -> SimpleNamespace:
        if "used" not in handle:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(total=80 * GIB, used=handle["used"], free=0)


def test_a_card_is_busy_and_holds_memory() -> None:
    meter = GpuMeter(Nvml({"busy": 10, "used": 0}, {"busy": 75, "used": 20 * GIB}))
    assert meter.read({1}) == {1: GpuReading(busy_percent=75.0, memory_percent=25.0, memory_bytes=20 * GIB)}


def test_nvml_is_opened_once_and_closed_once() -> None:
    nvml = Nvml({"busy": 1, "used": 1})
    meter = GpuMeter(nvml)
    assert meter.read(()) == {}
    assert nvml.opened == 0  # nobody has asked for a card
    meter.read({0})
    meter.read({0})
    meter.close()
    meter.close()
    assert (nvml.opened, nvml.closed) == (1, 1)


def test_what_a_card_does_not_tell_is_unknown_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    meter = GpuMeter(Nvml({"used": 8 * GIB}))  # one that is cut into MIG devices has no utilisation
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert meter.read({0})[0] == GpuReading(memory_percent=10.0, memory_bytes=8 * GIB)
    assert len(caplog.records) == 1
    assert "utilisation of GPU 0" in caplog.text


def test_a_card_that_is_lost_is_left_out_and_the_driver_is_asked_anew() -> None:
    nvml = Nvml({"busy": 5, "used": GIB})
    meter = GpuMeter(nvml)
    assert 0 in meter.read({0})
    nvml.broken = True
    assert meter.read({0}) == {}
    assert meter.read({0}) == {}
    nvml.broken = False
    assert meter.read({0})[0].busy_percent == 5.0


def test_a_replicas_own_cards_are_added_up(tmp_path: Path) -> None:
    nvml = Nvml({"busy": 90, "used": 0}, {"busy": 50, "used": 40 * GIB}, {"busy": 30, "used": 20 * GIB})
    meter = UsageMeter(tmp_path, GpuMeter(nvml), cores=1, root=tmp_path)
    subject = Subject(replica_id="r", endpoint="e", variant="v", processes=(), memory_limit_bytes=1, gpus=(1, 2))
    [usage] = meter.measure([subject], 0.0)
    assert usage.gpu_percent == 80.0
    assert usage.gpu_memory_percent == 75.0
    assert usage.gpu_memory_bytes == 60 * GIB
    meter.close()
    assert nvml.closed == 1


def test_the_real_module_has_what_is_asked_of_it() -> None:
    import pynvml

    for name in vars(Nvml):
        if name.startswith("nvml"):
            assert callable(getattr(pynvml, name))
    assert issubclass(pynvml.NVMLError, Exception)
    assert {"gpu"} <= {name for name, _ in pynvml.c_nvmlUtilization_t._fields_}
    assert {"total", "used"} <= {name for name, _ in pynvml.c_nvmlMemory_t._fields_}


def test_on_a_machine_without_a_driver_there_is_nothing() -> None:
    nvml = Nvml()
    nvml.broken = True
    assert GpuMeter(nvml).read({0}) == {}
