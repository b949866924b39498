"""Family: a model server process with all that it has started, and the CPU time and memory that they take together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trimtab.engines.local import proc

_CREDIT_LASTS_S = 5.0


class Process:
    """What was read of one process last."""

    def __init__(self, pid: int, now: proc.Stat) -> None:
        self.pid = pid
        self.now = now
        self.proportional: tuple[int, int] | None = None  # proportional and resident size, read together
        self.proportional_at_s = float("-inf")

    @property
    def memory_bytes(self) -> int:
        """Its proportional set size. What a process maps anew is its own at first, so since that was read it has
        changed by as much as the resident size; before it was read, the resident size is all that is known."""
        if self.proportional is None:
            return self.now.resident_bytes
        proportional, resident = self.proportional
        return max(0, proportional + self.now.resident_bytes - resident)


class Family:
    """Read by `read`; whom it consists of is said by `adopt`.

    CPU time must be counted once and when it was spent, although the kernel moves a process's whole past to its parent
    when that waits for its end: `_credit` is what is known of those who are gone and their parents may not count again.
    """

    def __init__(self, pid: int, start_ticks: int) -> None:
        self._pid = pid
        self._start_ticks = start_ticks
        self._known = {pid}
        self._processes: dict[int, Process] = {}
        self._credit_s = 0.0
        self._credit_at_s = float("-inf")

    @property
    def processes(self) -> Iterable[Process]:
        """Those that were there at the last reading."""
        return self._processes.values()

    @property
    def memory_bytes(self) -> int:
        """Of all of them together."""
        return sum(process.memory_bytes for process in self._processes.values())

    def adopt(self, descendants: Iterable[int]) -> None:
        """These belong to it now, besides those that did."""
        self._known.update(descendants)

    def read(self, now_s: float, root: Path) -> float | None:
        """Read all; return the CPU seconds since the last time. None: the first time, or its head is gone."""
        before, self._processes = self._processes, {}
        first = self._pid not in before
        own_s = reaped_s = 0.0
        for pid in sorted(self._known, key=lambda pid: pid != self._pid):  # a parent that reaps later is read earlier
            read = proc.stat(pid, root)
            if read is None or (pid == self._pid and read.start_ticks != self._start_ticks):
                self._known.discard(pid)
                continue
            process = before.get(pid)
            if process is None or process.now.start_ticks != read.start_ticks:
                self._processes[pid] = Process(pid, read)  # what it has spent up to now was not spent just now
                continue
            self._processes[pid] = before.pop(pid)
            own_s += max(0.0, read.own_cpu_s - process.now.own_cpu_s)
            reaped_s += max(0.0, read.reaped_cpu_s - process.now.reaped_cpu_s)
            process.now = read
        if first or self._pid not in self._processes:
            return None
        return self._counted_s(own_s, reaped_s, sum(gone.now.cpu_s for gone in before.values()), now_s)

    def _counted_s(self, own_s: float, reaped_s: float, gone_s: float, now_s: float) -> float:
        if gone_s:
            self._credit_at_s = now_s
        elif now_s - self._credit_at_s > _CREDIT_LASTS_S:  # nobody waits for their children here
            self._credit_s = 0.0
        credit_s = self._credit_s + gone_s
        self._credit_s = max(0.0, credit_s - reaped_s)
        return own_s + max(0.0, reaped_s - credit_s)
