"""What models take, read from /proc in a thread: the private pages of each one's processes, and their part of the GPUs.

Pages that a worker shares with the nursery it was forked from, or with other workers, are nobody's footprint: they are
there whether the model is or not. What requests take for a moment shows in the process's peak. The kernel counts page
by page (some 3 ms for a worker of 50 MB), so all readings together get `SHARE` of a core, the oldest first; a model
that has just been loaded is read at once.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trimtab.engines.local import proc
from trimtab.engines.local.gpu_usage import GpuMeter
from trimtab.host.runner import Footprint

SHARE = 0.01
_SAVED_S = 0.05  # what of the share may be saved up
_FAMILIES_EVERY_S = 10.0  # how often is looked for what models have started


class Footprints:
    """One per runner."""

    def __init__(
        self,
        gpus: Sequence[int] = (),
        *,
        root: Path = proc.PROC,
        gpu_meter: GpuMeter | None = None,
        cpu_s: Callable[[], float] = time.thread_time,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gpus`: the devices that models may use. `root` is where /proc is, `cpu_s` what this thread has cost."""
        self._gpus = tuple(gpus)
        self._gpu_meter = gpu_meter or (GpuMeter() if gpus else None)
        self._root = root
        self._cpu_s = cpu_s
        self._now_s = now_s
        self._read_s: dict[int, float] = {}  # when each process was read last
        self._below: dict[int, list[int]] = {}  # what each has started
        self._peaks: set[int] = set()  # whose peak counts from when it was loaded
        self._on_gpus_guess: dict[int, int] = {}  # of those whose part the driver does not tell
        self._looked_s = float("-inf")
        self._measured_s: float | None = None
        self._allowance_s = _SAVED_S
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="measure")  # one: readings follow one another

    async def on_gpus(self) -> int:
        """Bytes in use on the models' devices, by whomever. 0 without devices."""
        if self._gpu_meter is None:
            return 0
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._used_on_gpus)

    async def of(self, pid: int, *, on_gpus_before: int = 0) -> Footprint | None:
        """One process that has just loaded a model, with all that it has started. None: it is gone.

        Where the driver does not tell who has what, `on_gpus_before` its birth makes the difference; what else was
        loaded meanwhile is counted twice then, rather than not at all.
        """
        read = functools.partial(self._of, pid, on_gpus_before)
        return await asyncio.get_running_loop().run_in_executor(self._thread, read)

    async def some(self, pids: Collection[int]) -> dict[int, Footprint]:
        """Of those of `pids` whose turn it is. To be called about once a second, with all."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._some, list(pids))

    async def close(self) -> None:
        """After the readings under way."""
        if self._gpu_meter is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._gpu_meter.close)
        self._thread.shutdown()

    def _of(self, pid: int, on_gpus_before: int) -> Footprint | None:
        children = proc.children_by_parent(self._root) if self._has_children(pid) else {}
        self._below[pid] = list(proc.descendants([pid], children))
        by_process = self._by_process()
        if self._gpu_meter is not None and pid not in by_process:
            self._on_gpus_guess[pid] = max(0, self._used_on_gpus() - on_gpus_before)
        found = self._read(pid, by_process)
        if proc.forget_peak(pid, self._root):  # that was the load's own
            self._peaks.add(pid)
        return found

    def _some(self, pids: list[int]) -> dict[int, Footprint]:
        now_s = self._now_s()
        elapsed_s = now_s - self._measured_s if self._measured_s is not None else 0.0
        self._measured_s = now_s
        self._allowance_s = min(_SAVED_S, self._allowance_s + elapsed_s * SHARE)
        self._read_s = {pid: self._read_s.get(pid, float("-inf")) for pid in pids}
        if pids and now_s - self._looked_s >= _FAMILIES_EVERY_S:
            self._looked_s = now_s
            self._below = {pid: [] for pid in pids}
            for pid, head in proc.descendants(pids, proc.children_by_parent(self._root)).items():
                self._below[head].append(pid)
        self._below = {pid: self._below.get(pid, []) for pid in pids}
        self._on_gpus_guess = {pid: size for pid, size in self._on_gpus_guess.items() if pid in self._read_s}
        self._peaks &= self._read_s.keys()
        by_process = self._by_process()
        found: dict[int, Footprint] = {}
        for pid in sorted(pids, key=self._read_s.__getitem__):
            if self._allowance_s <= 0.0:
                break
            began_s = self._cpu_s()
            if (read := self._read(pid, by_process)) is not None:
                found[pid] = read
            self._allowance_s -= self._cpu_s() - began_s
        return found

    def _read(self, pid: int, by_process: dict[int, int]) -> Footprint | None:
        self._read_s[pid] = self._now_s()
        family = [pid, *self._below.get(pid, ())]
        private = [proc.private_bytes(member, self._root) for member in family]
        if private[0] is None:  # gone; or somebody else's, as a container's may be: all that is resident counts then
            private = [self._resident(member) for member in family]
            if not private[0]:
                return None
        now_bytes = sum(size or 0 for size in private)
        above_bytes = proc.above_now_bytes(pid, self._root) if pid in self._peaks else 0
        gpu_bytes = sum(by_process.get(member, 0) for member in family) or self._on_gpus_guess.get(pid, 0)
        return Footprint(now_bytes, gpu_bytes, now_bytes + above_bytes)

    def _resident(self, pid: int) -> int:
        found = proc.stat(pid, self._root)
        return found.resident_bytes if found is not None else 0

    def _by_process(self) -> dict[int, int]:
        return self._gpu_meter.by_process(self._gpus) if self._gpu_meter is not None else {}

    def _used_on_gpus(self) -> int:
        cards = self._gpu_meter.read(self._gpus) if self._gpu_meter is not None else {}
        return sum(card.memory_bytes or 0 for card in cards.values())

    def _has_children(self, pid: int) -> bool:
        """Whether it is worth a look at every process of the machine. Not every kernel lists a process's children."""
        path = self._root / str(pid) / "task" / str(pid) / "children"
        try:
            return path.read_bytes() != b""
        except OSError:
            return False
