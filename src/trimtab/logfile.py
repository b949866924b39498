"""stdout and stderr of a worker as one file: whole lines, and never more bytes than allowed.

Python's prints go through `LineStream`, which counts; what C code and child processes write goes straight to the
descriptor and is counted by `LogFile.tick`. A pipe to a reader would count exactly, but deadlocks when C code that
holds the GIL fills it; a file cannot block.

The file and its one predecessor (`NAME.1`) share the allowance: at half of it the file becomes the predecessor.
A full disk loses log lines, never a request. When lines were written is kept beside them (`wire/log_times.py`); what C
code wrote has the time of the tick, a second at most, that noticed it.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from pathlib import Path

from trimtab.wire.log_times import TimeWriter, previous_path

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_PARTIAL_LINE_CHARS = 64 * 1024  # a line longer than this is written in pieces


class LogFile:
    """The file behind descriptors 1 and 2."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._previous = previous_path(path)
        self._half_bytes = max(1, max_bytes // 2)
        self._lock = threading.Lock()
        self._size_bytes = 0
        self._fd = -1  # of its own: scripts may point 1 and 2 elsewhere
        self.lost_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._point_here()
        self._times: TimeWriter | None = None
        try:
            self._times = TimeWriter(path, _now_ms())
        except OSError:  # a log without times is better than no replica
            pass

    def write(self, data: bytes) -> None:
        """Append `data` in one write, after making room for it."""
        with self._lock:
            if not self._append(data):
                self.lost_bytes += len(data)

    def tick(self) -> None:
        """Count what was written past `write`; rotate where that is too much. Call about once a second."""
        with self._lock:
            self._count()
            if self._times is not None:
                self._times.settle(_now_ms())
            if self._size_bytes > self._half_bytes:
                self._rotate()
            lost = self.lost_bytes
            if lost and self._append(f"trimtab: {lost} bytes of log were lost: the disk had no room\n".encode()):
                self.lost_bytes = 0

    def close(self) -> None:
        """Let go of the file; descriptors 1 and 2 stay where they point."""
        os.close(self._fd)
        if self._times is not None:
            self._times.close()

    def _append(self, data: bytes) -> bool:
        if self._size_bytes + len(data) > self._half_bytes:
            self._rotate()
        if len(data) > self._half_bytes:
            data = data[-self._half_bytes :]
        now_ms = _now_ms()
        if self._times is not None and self._times.due(now_ms):
            self._count()  # so that what C code wrote meanwhile does not shift the mark
        try:
            self._size_bytes += os.write(self._fd, data)
        except OSError:  # disk full, or over a quota: a print must not fail the request that makes it
            return False
        if self._times is not None:
            self._times.grown(self._size_bytes, now_ms)
        return True

    def _count(self) -> None:
        """Learn the file's size; what is more than was known, C code and child processes wrote."""
        status = os.fstat(self._fd)
        if self._times is not None and status.st_size > self._size_bytes:
            self._times.grown(status.st_size, status.st_mtime_ns // 1_000_000)
        self._size_bytes = status.st_size

    def _rotate(self) -> None:
        """The file becomes its own predecessor: whole, or its end when C code wrote more than that may hold."""
        try:
            if self._size_bytes > self._half_bytes:
                self._keep_end()
            else:
                os.replace(self._path, self._previous)
                self._moved_on(self._point_here())
        except OSError:
            os.ftruncate(self._fd, 0)  # no room for a second file: the allowance still holds
            self._moved_on(self._size_bytes)
            self._size_bytes = 0

    def _keep_end(self) -> None:
        with self._path.open("rb") as file:
            file.seek(-self._half_bytes, os.SEEK_END)
            end = file.read(self._half_bytes)
        self._previous.write_bytes(end)
        os.ftruncate(self._fd, 0)
        self._moved_on(self._size_bytes)
        self._size_bytes = 0

    def _moved_on(self, cut_bytes: int) -> None:
        if self._times is not None:
            self._times.moved_on(cut_bytes, os.fstat(self._fd).st_ino)

    def _point_here(self) -> int:
        """Write to the path from now on; the size of the file that was written to before, now that nobody is late."""
        fd, before = os.open(self._path, _FLAGS, 0o600), 0
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        self._size_bytes = os.fstat(fd).st_size
        if self._fd >= 0:
            before = os.fstat(self._fd).st_size
            os.close(self._fd)
        self._fd = fd
        return before


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _RawLog(io.RawIOBase):
    """`sys.stdout.buffer`: bytes as they are."""

    def __init__(self, log: LogFile) -> None:
        self._log = log

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._log.write(piece)
        return len(piece)


class LineStream(io.TextIOBase):
    """`sys.stdout` and `sys.stderr`: each line is one write, so that threads never cut each other's lines."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._raw = _RawLog(log)
        self._partial: dict[int, str] = {}  # unfinished lines, by thread

    @property
    def buffer(self) -> io.RawIOBase:
        """Where bytes can be written."""
        return self._raw

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return 1

    def write(self, text: str) -> int:
        """Write all whole lines; keep the rest for this thread's next write or flush."""
        thread = threading.get_ident()
        pending = self._partial.pop(thread, "") + text
        lines, newline, rest = pending.rpartition("\n")
        if len(rest) > _PARTIAL_LINE_CHARS:
            lines, newline, rest = pending, "", ""
        if rest:
            self._partial[thread] = rest
        if lines or newline:
            self._log.write((lines + newline).encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        """Write this thread's unfinished line."""
        self._write_rest(threading.get_ident())

    def flush_all(self) -> None:
        """Write every thread's unfinished line: the process is about to end."""
        for thread in list(self._partial):
            self._write_rest(thread)

    def reconfigure(self, **_: object) -> None:
        """Scripts call this for line buffering or UTF-8, which it has anyway."""

    def _write_rest(self, thread: int) -> None:
        if rest := self._partial.pop(thread, ""):
            self._log.write(rest.encode("utf-8", "backslashreplace"))


def capture(path: Path, max_bytes: int) -> LogFile:
    """Send this process's stdout and stderr, Python's and everyone else's, to `path`."""
    log = LogFile(path, max_bytes)
    sys.stdout = LineStream(log)
    sys.stderr = LineStream(log)
    return log
