"""When the lines of a log were written: a small file beside the log, for what a raw line does not say.

    NAME.log         the newest text          NAME.log.1   its predecessor, where its writer keeps one
    NAME.log.times   header := magic | u64 base | u64 inode | u64 created_ms       (32 bytes, little endian)
                     mark*  := u64 position | u64 time_ms                          (16 bytes each)

A *position* counts bytes since the log began, those that are gone included; so it stays true while files rotate.
`base` is the position of NAME.log's first byte, `inode` the file for which that holds: a writer killed between renaming
the log and writing the header leaves a header that says whose base it is. A mark says that what follows it was written
at its time, until the next mark. A mark at the very end says that what follows is newer.

Writers add a mark when something is written and the last mark is 10 ms old, and one when they have gone quiet: an
unmarked end (a traceback out of C code as the process dies) is then told from what came before, and has the time at
which the file was last written. Times are the wall clock's, in milliseconds since the epoch, and jump as it does.
"""

from __future__ import annotations

import os
import struct
from array import array
from pathlib import Path

from msgspec import Struct

from trimtab.files import write_whole

MARK_EVERY_MS = 10
MAX_BYTES = 4 * 2**20  # of the file: beyond it every second mark goes, again and again
MAGIC = b"trimtab1"
HEADER = struct.Struct("<8sQQQ")
MARK = struct.Struct("<QQ")


class Times(Struct, frozen=True):
    """What the file says. `positions` and `times_ms` belong together."""

    base: int
    inode: int
    created_ms: int
    positions: array[int]
    times_ms: array[int]


def times_path(log: Path) -> Path:
    """The file that belongs to `log`."""
    return log.with_name(log.name + ".times")


def previous_path(log: Path) -> Path:
    """Where the writer of `log` keeps what was before, if it does."""
    return log.with_name(log.name + ".1")


def read_times(log: Path) -> Times | None:
    """The times of `log`, without a torn last mark; None where there are none (an older version's log)."""
    try:
        data = times_path(log).read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        return None
    _, base, inode, created_ms = HEADER.unpack_from(data)
    marks = array("Q", data[HEADER.size : len(data) - (len(data) - HEADER.size) % MARK.size])
    return Times(base, inode, created_ms, marks[0::2], marks[1::2])


def read_created_ms(log: Path) -> int | None:
    """When the log was begun, without its times; None where nobody noted it."""
    try:
        with times_path(log).open("rb") as file:
            header = file.read(HEADER.size)
    except FileNotFoundError:
        return None
    return int(HEADER.unpack(header)[3]) if len(header) == HEADER.size and header.startswith(MAGIC) else None


class TimeWriter:
    """Keeps the times of one log; its only writer. Losing a mark (a full disk) is no error: nobody's print may fail."""

    def __init__(self, log: Path, now_ms: int, max_bytes: int = MAX_BYTES) -> None:
        """Begin, or go on where an earlier writer of `log` stopped. Raises OSError when the file cannot be opened."""
        self._log = log
        self._max_marks = max(4, (max_bytes - HEADER.size) // MARK.size)
        self._fd = os.open(times_path(log), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._pid = os.getpid()
        self._count = 0
        self._last = (0, 0)  # the newest mark
        self._base = self._covered = 0  # the position of the log's first byte; up to where its times are known
        self._created_ms = now_ms
        self._inode = 0
        self._take_over(read_times(log), now_ms)

    def due(self, now_ms: int) -> bool:
        """Whether what is written now needs a mark of its own. (A clock that was put back: yes.)"""
        return not 0 <= now_ms - self._last[1] < MARK_EVERY_MS or not self._count

    def grown(self, size_bytes: int, now_ms: int) -> None:
        """The log is `size_bytes` long: what is new since the last call was written now."""
        end = self._base + size_bytes
        if end < self._covered:  # somebody else cut the log: positions go on all the same
            self.moved_on(self._covered - end, self._inode)
        elif end > self._covered:
            if self.due(now_ms):
                self._add(self._covered, now_ms)
            self._covered = end

    def settle(self, now_ms: int) -> None:
        """Nothing is being written: what comes after is newer."""
        if self._covered != self._last[0] and self.due(now_ms):
            self._add(self._covered, now_ms)

    def moved_on(self, cut_bytes: int, inode: int) -> None:
        """The log's first `cut_bytes` left it (to the predecessor, or for ever); it is the file `inode` now."""
        self._base += cut_bytes
        self._covered = max(self._covered, self._base)
        self._write_header(inode)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def _take_over(self, found: Times | None, now_ms: int) -> None:
        status, previous = _stat(self._log), _stat(previous_path(self._log))
        if found is None:
            os.ftruncate(self._fd, 0)
            self._base = self._covered = previous.size
            self._created_ms = min(filter(None, (previous.time_ms, status.time_ms, now_ms)), default=0)
            if previous.size:  # an older version's: the files' own times are all there is
                self._add(0, previous.time_ms)
        else:
            rotated = found.inode != status.inode and found.inode == previous.inode
            self._base = found.base + (previous.size if rotated else 0)
            self._created_ms = found.created_ms
            self._count = len(found.positions)
            self._covered = self._base
            if self._count:
                self._last = (found.positions[-1], found.times_ms[-1])
                self._covered = max(self._base, self._last[0])
        self._write_header(status.inode)
        if status.size:
            self.grown(status.size, status.time_ms or now_ms)

    def _add(self, position: int, time_ms: int) -> None:
        if os.getpid() != self._pid:
            return  # a child that the model's code has forked: the parent's next mark counts what it wrote
        if self._count and position == self._last[0]:
            self._count -= 1  # nothing lies between: the newer one holds
        try:
            if self._count >= self._max_marks:
                self._thin()
            os.pwrite(self._fd, MARK.pack(position, time_ms), HEADER.size + self._count * MARK.size)
        except OSError:
            return
        self._count += 1
        self._last = (position, time_ms)

    def _thin(self) -> None:
        """Drop the marks of text that is gone; of the others every second one, where that is not enough."""
        first = self._base - _stat(previous_path(self._log)).size
        data = os.pread(self._fd, self._count * MARK.size, HEADER.size)
        marks = [data[at : at + MARK.size] for at in range(0, len(data), MARK.size)]
        gone = sum(MARK.unpack(mark)[0] <= first for mark in marks) - 1  # the one before `first` still holds there
        kept = marks[max(0, gone) :]
        if len(kept) > self._max_marks // 2:
            kept = kept[::2]
        path = times_path(self._log)
        write_whole(path, self._header() + b"".join(kept), mode=0o600, sync=False)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        os.close(self._fd)
        self._fd, self._count = fd, len(kept)

    def _write_header(self, inode: int) -> None:
        self._inode = inode
        try:
            os.pwrite(self._fd, self._header(), 0)
        except OSError:
            return

    def _header(self) -> bytes:
        return HEADER.pack(MAGIC, self._base, self._inode, self._created_ms)


class _Stat(Struct, frozen=True):
    size: int = 0
    inode: int = 0
    time_ms: int = 0


def _stat(path: Path) -> _Stat:
    try:
        status = path.stat()
    except FileNotFoundError:
        return _Stat()
    return _Stat(status.st_size, status.st_ino, status.st_mtime_ns // 1_000_000)
