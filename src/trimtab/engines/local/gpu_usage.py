"""How busy the GPUs of this machine are, by NVML. A reading that a card does not give (MIG: no utilisation) is None."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct

from trimtab.logs import fields

logger = logging.getLogger(__name__)

T = TypeVar("T")


class GpuReading(Struct, frozen=True, kw_only=True):
    """One card, whoever uses it. Percents are 0 to 100."""

    busy_percent: float | None = None  # part of NVML's last sample period (up to 1 s) in which a kernel ran
    memory_percent: float | None = None
    memory_bytes: int | None = None


class GpuMeter:
    """Keeps NVML open. Called by one thread at a time; a call takes about a millisecond for each card."""

    def __init__(self, nvml: Any = None) -> None:
        """`nvml`: the module pynvml, imported at the first reading when None."""
        self._nvml = nvml
        self._open = False
        self._told: set[str] = set()  # each failure is logged once

    def read(self, indexes: Iterable[int]) -> dict[int, GpuReading]:
        """The cards with these indexes (NVML's). One that cannot be read at all is left out."""
        wanted = sorted(indexes)
        if not wanted or not self._ready():
            return {}
        found = {}
        for index in wanted:
            handle = self._ask(f"GPU {index}", partial(self._nvml.nvmlDeviceGetHandleByIndex, index))
            if handle is not None:
                found[index] = self._reading(index, handle)
        if not found:
            self.close()  # a driver that was loaded anew meanwhile is to be asked anew
        return found

    def by_process(self, indexes: Iterable[int]) -> dict[int, int]:
        """Bytes that each process has on these cards together. Empty where the driver does not tell (MIG, WSL), and of
        no use in a container, where it may tell the machine's process ids and not the container's."""
        found: dict[int, int] = {}
        wanted = sorted(indexes)
        if not wanted or not self._ready():
            return found
        for index in wanted:
            handle = self._ask(f"GPU {index}", partial(self._nvml.nvmlDeviceGetHandleByIndex, index))
            if handle is None:
                continue
            listing = partial(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
            for process in self._ask(f"processes of GPU {index}", listing) or ():
                if process.usedGpuMemory:
                    found[process.pid] = found.get(process.pid, 0) + int(process.usedGpuMemory)
        return found

    def close(self) -> None:
        """Let go of NVML."""
        if self._open:
            self._open = False
            self._ask("NVML's end", self._nvml.nvmlShutdown)

    def _ready(self) -> bool:
        if self._nvml is None:
            import pynvml

            self._nvml = pynvml
        if not self._open:
            self._open = self._ask("NVML", lambda: (self._nvml.nvmlInit(), True)[1]) is True
        return self._open

    def _reading(self, index: int, handle: Any) -> GpuReading:
        rates = self._ask(f"utilisation of GPU {index}", lambda: self._nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = self._ask(f"memory of GPU {index}", lambda: self._nvml.nvmlDeviceGetMemoryInfo(handle))
        return GpuReading(
            busy_percent=float(rates.gpu) if rates is not None else None,
            memory_percent=100.0 * memory.used / memory.total if memory is not None and memory.total else None,
            memory_bytes=int(memory.used) if memory is not None else None,
        )

    def _ask(self, what: str, question: Callable[[], T]) -> T | None:
        try:
            answer = question()
        except self._nvml.NVMLError as error:
            if what not in self._told:
                self._told.add(what)
                logger.warning("NVML does not tell %s", fields(what=what, why=error))
            return None
        self._told.discard(what)
        return answer
