"""One look at a replica's log: the file, its predecessor and the times beside them, read as one run of bytes.

A *position* counts bytes since the log began (`wire/log_times.py`). Files may rotate and be trimmed while they are
read: the look keeps what it has opened, and what has gone meanwhile reads as nothing.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from trimtab.wire.log_times import MARK_EVERY_MS, Times, previous_path, read_times

_TRIES = 5  # to see header and files of one moment


class LogView:
    """Use it in a `with`. `first` is the position of the first byte that is there, `end` that after the last one."""

    def __init__(self, log: Path) -> None:
        """Raises FileNotFoundError when the log is gone."""
        self._fds: list[int] = []
        try:
            self._look(log)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LogView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        while self._fds:
            os.close(self._fds.pop())

    def read(self, position: int, size: int) -> bytes:
        """At most `size` bytes from `position` on; fewer at the end and where one file follows the other."""
        if position < self._base:
            if self._previous < 0:
                return b""
            return os.pread(self._previous, min(size, self._base - position), position - self.first)
        return os.pread(self._log, max(0, min(size, self.end - position)), position - self._base)

    def time_ms(self, position: int) -> int:
        """When the byte at `position` was written."""
        return self._times_ms[max(0, bisect_right(self._positions, position) - 1)]

    def runs(self, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """The stretches of positions written at `start_ms` or later and before `end_ms`, in order.

        More than one where the clock was put back.
        """
        found: list[tuple[int, int]] = []
        bounds = [*self._positions[1:], self.end]
        for begin, stop, time_ms in zip(self._positions, bounds, self._times_ms, strict=True):
            if start_ms <= time_ms < end_ms and stop > self.first:
                if found and found[-1][1] == begin:
                    found[-1] = (found[-1][0], stop)
                else:
                    found.append((max(begin, self.first), stop))
        return found

    def _look(self, log: Path) -> None:
        for _ in range(_TRIES):
            times = read_times(log)
            self._open(log)
            if _header(times) == _header(read_times(log)):
                break
            self.close()
        else:  # it rotates faster than we look: the newest will do
            self._open(log)
        self._log, self._previous = self._fds
        status, before = os.fstat(self._log), _fstat(self._previous)
        previous_bytes = before.st_size if before else 0
        self._base = previous_bytes
        if times is not None:
            between = before is not None and times.inode == before.st_ino != status.st_ino  # renamed, header not yet
            self._base = max(times.base + (previous_bytes if between else 0), previous_bytes)
        self.first = self._base - previous_bytes
        self.end = self._base + status.st_size
        newest = before if before is not None and not status.st_size else status
        self.written_ms = newest.st_mtime_ns // 1_000_000
        self._set_times(times, before.st_mtime_ns // 1_000_000 if before else self.written_ms)
        self.created_ms = times.created_ms if times is not None else self._times_ms[0]

    def _open(self, log: Path) -> None:
        """Both files; an empty one for that which is not there: while a log rotates, there is only its predecessor."""
        missing = 0
        for path in (log, previous_path(log)):
            try:
                self._fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:
                missing += 1
                self._fds.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        if missing == 2:
            raise FileNotFoundError(log)

    def _set_times(self, times: Times | None, before_ms: int) -> None:
        if times is not None and times.positions:
            self._positions, self._times_ms = times.positions, times.times_ms
            self._positions[0] = min(self._positions[0], self.first)  # where a full disk has cost marks
            # What the writer did not live to mark (or has not yet) was written when the file was written last.
            if self.end > self._positions[-1] and self.written_ms - self._times_ms[-1] >= MARK_EVERY_MS:
                if self._positions[-1] < self._base < self.end:
                    self._positions.append(self._base)
                    self._times_ms.append(self.written_ms)
                else:
                    self._times_ms[-1] = self.written_ms
        else:
            self._positions = array("Q", [self.first, self._base] if self.first < self._base else [self._base])
            self._times_ms = array("Q", [before_ms, self.written_ms][-len(self._positions) :])


def _fstat(fd: int) -> os.stat_result | None:
    """None for what stands in for a predecessor that is not there."""
    status = os.fstat(fd)
    return status if status.st_size else None


def _header(times: Times | None) -> Iterable[int] | None:
    return None if times is None else (times.base, times.inode)
