"""What local replicas take: CPU, memory, disk and GPUs, read often and cheaply.

Once a second one file is read for each process (about 12 us). What costs more is rationed: proportional set sizes,
which the kernel counts page by page, get `PSS_SHARE` of a core, the oldest reading first; what model servers have
started is looked for every `FAMILY_EVERY_S`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from trimtab.engines.local import proc
from trimtab.engines.local.family import Family
from trimtab.engines.local.gpu_usage import GpuMeter, GpuReading
from trimtab.resources.usage import ReplicaUsage

FAMILY_EVERY_S = 10.0
PSS_SHARE = 0.004
_PSS_SAVED_S = 0.02  # what of the share may be saved up

ProcessKey = tuple[int, int]
"""Process id and start in clock ticks: together unique."""


class Subject(Struct, frozen=True, kw_only=True):
    """A replica to measure. `processes` are its model servers, as far as they are in sight."""

    replica_id: str
    endpoint: str
    variant: str
    processes: tuple[ProcessKey, ...]
    memory_limit_bytes: int
    gpus: tuple[int, ...] = ()


class UsageMeter:
    """Remembers the reading before. Called by one thread at a time, never by the event loop's: it reads files."""

    def __init__(
        self,
        data_dir: Path,
        gpus: GpuMeter | None,
        *,
        cores: int,
        root: Path = proc.PROC,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """`gpus` is None on machines without. `root` is where /proc is, `cpu_s` what this thread has cost."""
        self._cpu_s = cpu_s
        self._data_dir = data_dir
        self._gpus = gpus
        self._cores = cores
        self._root = root
        self._families: dict[ProcessKey, Family] = {}
        self._looked_at_s = float("-inf")
        self._measured_at_s: float | None = None
        self._allowance_s = _PSS_SAVED_S

    def measure(self, subjects: Sequence[Subject], now_s: float) -> list[ReplicaUsage]:
        """Read all of `subjects` at `now_s` (monotonic)."""
        elapsed_s = now_s - self._measured_at_s if self._measured_at_s is not None else 0.0
        self._measured_at_s = now_s
        self._meet({key for subject in subjects for key in subject.processes}, now_s)
        spent_s = {key: family.read(now_s, self._root) for key, family in self._families.items()}
        self._read_proportional(elapsed_s, now_s)
        disk_percent = self._disk_percent()
        gpus = self._gpus.read({index for subject in subjects for index in subject.gpus}) if self._gpus else {}
        return [
            self._usage(
                subject,
                cpu_percent=self._cpu_percent([spent_s[key] for key in subject.processes], elapsed_s),
                disk_percent=disk_percent,
                cards=[gpus[index] for index in subject.gpus if index in gpus],
            )
            for subject in subjects
        ]

    def close(self) -> None:
        """Let go of the GPUs' driver."""
        if self._gpus is not None:
            self._gpus.close()

    def _meet(self, keys: set[ProcessKey], now_s: float) -> None:
        """Forget who is gone, meet who is new; every now and then look what they have started."""
        self._families = {key: self._families.get(key) or Family(*key) for key in sorted(keys)}
        if now_s - self._looked_at_s < FAMILY_EVERY_S or not keys:
            return
        self._looked_at_s = now_s
        by_pid = {key[0]: family for key, family in self._families.items()}
        for pid, head in proc.descendants(by_pid, proc.children_by_parent(self._root)).items():
            by_pid[head].adopt((pid,))

    def _read_proportional(self, elapsed_s: float, now_s: float) -> None:
        """The readings that are oldest, for as long as the share lasts; a long one is saved for afterwards."""
        self._allowance_s = min(_PSS_SAVED_S, self._allowance_s + elapsed_s * PSS_SHARE)
        processes = [process for family in self._families.values() for process in family.processes]
        for process in sorted(processes, key=lambda process: process.proportional_at_s):
            if self._allowance_s <= 0.0 or process.proportional_at_s >= now_s:
                return
            began_s = self._cpu_s()
            process.proportional_at_s = now_s
            found = proc.proportional_bytes(process.pid, self._root)
            if found is not None:
                process.proportional = (found, process.now.resident_bytes)
            self._allowance_s -= self._cpu_s() - began_s

    def _usage(
        self, subject: Subject, *, cpu_percent: float | None, disk_percent: float | None, cards: Sequence[GpuReading]
    ) -> ReplicaUsage:
        families = [self._families[key] for key in subject.processes]
        used, limit = sum(family.memory_bytes for family in families), subject.memory_limit_bytes
        held = _sum(card.memory_bytes for card in cards)
        return ReplicaUsage(
            replica_id=subject.replica_id,
            endpoint=subject.endpoint,
            variant=subject.variant,
            cpu_percent=cpu_percent,
            memory_bytes=used or None,
            memory_percent=100.0 * used / limit if used and limit else None,
            disk_percent=disk_percent,
            gpu_percent=_sum(card.busy_percent for card in cards),
            gpu_memory_percent=_sum(card.memory_percent for card in cards),
            gpu_memory_bytes=None if held is None else int(held),
        )

    def _cpu_percent(self, spent_s: Sequence[float | None], elapsed_s: float) -> float | None:
        known = [seconds for seconds in spent_s if seconds is not None]
        if not known or elapsed_s <= 0.0:
            return None
        return min(100.0 * sum(known) / elapsed_s, 100.0 * self._cores)  # clock ticks are coarse: 10 ms

    def _disk_percent(self) -> float | None:
        try:
            disk = shutil.disk_usage(self._data_dir)
        except OSError:  # the directory was removed, or its file system is gone
            return None
        return 100.0 * disk.used / (disk.used + disk.free) if disk.used + disk.free else None


def _sum(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None when none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
