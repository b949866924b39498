"""The log lines of an endpoint's replicas, read from `LOGS/ENDPOINT/VARIANT/REPLICA[-INDEX].log`; also as they come.

A replica of several model server processes has a file for each, told apart by INDEX.

Names that a caller gives are compared with what the folder holds and never become part of a path.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from msgspec import Struct

BLOCK_BYTES = 64 * 1024  # read, and sent, at a time; a longer line is cut there
POLL_S = 0.2  # how late a followed line may be
SILENCE_S = 15.0  # a follower hears something at least this often, so that no one on the way takes it for dead


class LogLine(Struct, frozen=True):
    """One line that a replica wrote, without its end. `replica` is the file's name: the replica's, with the index."""

    variant: str
    replica: str
    line: str


class LogFiles:
    """The log files of one endpoint, read forward. `tail` lines of each file's past are given; None gives all."""

    def __init__(self, folder: Path, *, variant: str = "", replica: str = "", tail: int | None = None) -> None:
        self._folder = folder
        self._variant = variant
        self._replica = replica
        self._tail = tail
        self._files: dict[Path, _LogFile] = {}
        self._first = True

    def read(self) -> Iterator[list[LogLine]]:
        """What is new since the last call, in blocks; files in the order in which they were last written."""
        for path in self._paths():
            file = self._files.get(path)
            if file is None:
                # A file born while we follow is all new; of one that was there before, only its tail is wanted.
                file = self._files[path] = _LogFile(path, self._tail if self._first else None)
            for lines in file.read():
                yield [LogLine(path.parent.name, path.stem, line) for line in lines]
        self._first = False

    def rest(self) -> Iterator[list[LogLine]]:
        """The last lines that have no end (yet): what a dying replica wrote last."""
        for path, file in self._files.items():
            if line := file.rest():
                yield [LogLine(path.parent.name, path.stem, line)]

    async def follow(self, still_there: Callable[[], bool]) -> AsyncIterator[list[LogLine]]:
        """What is there, then what comes, replicas born later included; ends once `still_there` says so.

        An empty block comes after a while without lines.
        """
        silent_s = 0.0
        while True:
            last_round = not still_there()
            for block in self.read():
                silent_s = 0.0
                yield block
            if last_round:
                return
            await asyncio.sleep(POLL_S)
            silent_s += POLL_S
            if silent_s >= SILENCE_S:
                silent_s = 0.0
                yield []

    def _paths(self) -> list[Path]:
        found: list[tuple[int, Path]] = []
        for path in self._folder.glob("*/*.log"):
            if self._variant in ("", path.parent.name) and self._replica in (
                "",
                path.stem,
                path.stem.rpartition("-")[0],
            ):
                try:
                    found.append((path.stat().st_mtime_ns, path))
                except FileNotFoundError:  # removed between listing and looking
                    continue
        return [path for _, path in sorted(found)]


class _LogFile:
    """A replica's log. Its writer moves it to `NAME.1` when it has grown, and begins anew."""

    def __init__(self, path: Path, tail: int | None) -> None:
        self._path = path
        self._previous = path.with_name(path.name + ".1")
        self._tail = tail
        self._inode = 0
        self._offset = 0
        self._partial = b""

    def read(self) -> Iterator[list[str]]:
        """The lines that are new since the last call."""
        with _opened(self._path) as file:
            if file is None:
                return
            status = os.fstat(file.fileno())
            if self._inode == 0:
                self._offset, missing = _tail_offset(file, status.st_size, self._tail)
                yield from self._before(missing)
            elif status.st_ino != self._inode:
                yield from self._rotated_away()
            elif status.st_size < self._offset:
                self._offset, self._partial = 0, b""  # cut off by its writer
            self._inode = status.st_ino
            yield from self._read_on(file)

    def _before(self, missing: int | None) -> Iterator[list[str]]:
        """The predecessor's last lines, at the first look."""
        with _opened(self._previous) as file:
            if file is not None and missing != 0:
                wanted, self._offset = self._offset, _tail_offset(file, os.fstat(file.fileno()).st_size, missing)[0]
                yield from self._read_on(file)
                self._offset = wanted

    def _rotated_away(self) -> Iterator[list[str]]:
        """What was written to the file that we were reading before it became the predecessor."""
        with _opened(self._previous) as file:
            if file is not None and os.fstat(file.fileno()).st_ino == self._inode:
                yield from self._read_on(file)
        self._offset = 0

    def _read_on(self, file: BufferedReader) -> Iterator[list[str]]:
        file.seek(self._offset)
        while block := file.read(BLOCK_BYTES):
            self._offset += len(block)
            if lines := self._lines(block):
                yield lines

    def rest(self) -> str:
        line, self._partial = self._partial, b""
        return line.decode(errors="replace")

    def _lines(self, block: bytes) -> list[str]:
        *whole, self._partial = (self._partial + block).split(b"\n")
        if len(self._partial) >= BLOCK_BYTES:
            whole.append(self._partial)
            self._partial = b""
        return [line.decode(errors="replace").removesuffix("\r") for line in whole]


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader | None]:
    """The file, or None when it is not (or no longer) there."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file


def _tail_offset(file: BufferedReader, size: int, lines: int | None) -> tuple[int, int | None]:
    """Where the last `lines` lines begin, and how many are missing because the file has fewer (None: all are wanted).

    Reads backwards, so that a tail of a large file costs little.
    """
    if lines is None or size == 0:
        return 0, lines
    file.seek(size - 1)
    position = size
    wanted = lines + 1 if file.read(1) == b"\n" else lines  # line ends to pass; a last line may have none
    while position > 0 and lines:
        step = min(BLOCK_BYTES, position)
        position -= step
        file.seek(position)
        block = file.read(step)
        count = block.count(b"\n")
        if count >= wanted:
            index = len(block)
            for _ in range(wanted):
                index = block.rindex(b"\n", 0, index)
            return position + index + 1, 0
        wanted -= count
    return (0, wanted - 1) if lines else (size, 0)
