"""Logs as replicas write them, at times of the test's choosing."""

from __future__ import annotations

import os
from pathlib import Path

from trimtab.wire.log_times import TimeWriter, previous_path

START_MS = 1_700_000_000_000


class Replica:
    """Writes a log as `worker.logfile.LogFile` does, without taking over descriptors 1 and 2."""

    def __init__(self, folder: Path, endpoint: str = "e", variant: str = "blue", name: str = "r-0") -> None:
        self.path = folder / endpoint / variant / f"{name}.log"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        self.times: TimeWriter | None = TimeWriter(self.path, START_MS)

    def write(self, data: str | bytes, at_ms: int) -> None:
        with self.path.open("ab") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
        self._touched(at_ms)
        if self.times is not None:
            self.times.grown(self.path.stat().st_size, at_ms)

    def write_past_python(self, data: bytes, at_ms: int) -> None:
        """As C code does while the process dies: nobody marks it."""
        with self.path.open("ab") as file:
            file.write(data)
        self._touched(at_ms)

    def rotate(self) -> None:
        size = self.path.stat().st_size
        self.path.replace(previous_path(self.path))
        self.path.touch()
        if self.times is not None:
            self.times.moved_on(size, self.path.stat().st_ino)

    def _touched(self, at_ms: int) -> None:
        os.utime(self.path, ns=(at_ms * 1_000_000, at_ms * 1_000_000))
