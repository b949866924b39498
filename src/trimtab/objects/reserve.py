"""A little of the disk kept back, so that objects can be deleted when it is full: forgetting takes room too."""

from __future__ import annotations

import os
from pathlib import Path

RESERVE_BYTES = 2**20  # some hundred transactions of SQLite's write-ahead log


class Reserve:
    """A file of RESERVE_BYTES that is given up when a delete needs room, and made again when there is some."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> bool:
        """Make the file, if it is not there; False when there is no room for it."""
        if self._path.exists():
            return True
        try:
            with self._path.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        return True

    def spend(self) -> bool:
        """Give the room up; False when it was given up before."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
