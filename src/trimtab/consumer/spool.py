"""Spools: large bytes on their way, in memory while there is room for them, else in a file that nobody else sees."""

from __future__ import annotations

import io
import mmap
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO, cast

IN_MEMORY_BYTES = 4 << 20  # of one spool
ALL_IN_MEMORY_BYTES = 256 << 20  # of all spools of a process together


class Room:
    """How much memory spools may take together. For several threads."""

    def __init__(self, most_bytes: int = ALL_IN_MEMORY_BYTES) -> None:
        self._left_bytes = most_bytes
        self._lock = threading.Lock()

    def take(self, size_bytes: int) -> bool:
        """Take so much, if it is there."""
        with self._lock:
            if size_bytes > self._left_bytes:
                return False
            self._left_bytes -= size_bytes
            return True

    def give(self, size_bytes: int) -> None:
        """Give it back."""
        with self._lock:
            self._left_bytes += size_bytes


class Spool(io.RawIOBase):
    """A file to be written from its beginning to its end, and then read. Its file, if it needs one, has no name: it is
    gone when this process is. OSError where the disk is full."""

    def __init__(self, folder: Path, room: Room) -> None:
        super().__init__()
        self._folder = folder
        self._room = room
        self._taken_bytes = 0
        self._memory: io.BytesIO | None = io.BytesIO()
        self._file: BinaryIO | None = None
        self.size_bytes = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Add to the end."""
        if self._memory is not None and not self._has_room(len(data)):
            self._move_to_disk()
        (self._memory if self._memory is not None else cast(BinaryIO, self._file)).write(data)
        self.size_bytes += len(data)
        return len(data)

    def _has_room(self, size_bytes: int) -> bool:
        if self.size_bytes + size_bytes > IN_MEMORY_BYTES or not self._room.take(size_bytes):
            return False
        self._taken_bytes += size_bytes
        return True

    def _move_to_disk(self) -> None:
        assert self._memory is not None
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = cast(BinaryIO, tempfile.TemporaryFile(dir=self._folder, buffering=1 << 20))  # noqa: SIM115 it lives as long as this
        self._file.write(self._memory.getbuffer())
        self._memory = None
        self._give_back()

    def _give_back(self) -> None:
        self._room.give(self._taken_bytes)
        self._taken_bytes = 0

    def pieces(self) -> list[bytes]:
        """All that was written, for a socket: of a file, a view of its pages, which no memory of ours holds."""
        if self._memory is not None:
            return [self._memory.getvalue()] if self.size_bytes else []
        assert self._file is not None
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return [cast(bytes, memoryview(mapped))]  # unmapped when nobody sends it any more

    def reader(self) -> BinaryIO:
        """All that was written, as a file at its beginning."""
        if self._memory is not None:
            return io.BytesIO(self._memory.getvalue())
        assert self._file is not None
        self._file.flush()
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Let go of it all."""
        if not self.closed:
            self._memory = None
            self._give_back()
            if self._file is not None:
                self._file.close()
        super().close()
