"""The log of a program or container, which writes to its file itself: kept short, and told when it was written."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from trimtab.engines.local import processes
from trimtab.logs import fields
from trimtab.wire.log_times import TimeWriter

logger = logging.getLogger(__name__)

LIMIT_BYTES = 64 * 2**20
LOOK_EVERY_S = 1.0


class ProgramLog:
    """`look` about once a second, from any thread: what is new has the time at which the file was last written."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        """Nothing is opened before the first look."""
        self._path = path
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._times: TimeWriter | None = None
        self._finished = False

    def look(self) -> None:
        """Note what was written since the last look; trim the file when it has grown over its limit. Does I/O."""
        with self._lock:
            if not self._finished:
                self._look()

    def finish(self) -> None:
        """A last look: the program has ended. Does I/O."""
        with self._lock:
            if not self._finished:
                self._look()
                self._finished = True
                if self._times is not None:
                    self._times.close()

    def _look(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        try:
            status = os.stat(self._path)
            if self._times is None:
                self._times = TimeWriter(self._path, now_ms)
            self._times.grown(status.st_size, status.st_mtime_ns // 1_000_000)
            self._times.settle(now_ms)
            if cut := processes.trim_log(self._path, self._limit_bytes):
                self._times.moved_on(cut, status.st_ino)
        except OSError as error:  # pruned, or no room on the disk: the program goes on, and so do the looks
            logger.debug("log not kept %s", fields(path=self._path, error=error))
