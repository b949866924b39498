"""Writer: small writes that wait for a moment in which nobody waits for them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from trimtab.errors import TrimtabError
from trimtab.logs import fields

logger = logging.getLogger(__name__)

AFTER_S: Final = 0.02  # what was decided has been ordered by then
AGAIN_S: Final = 1.0
MOST: Final = 10_000  # that wait while the disk is full; older ones are given up


class Writer:
    """Calls what it is given in order, soon. What cannot be written now is tried again. On one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._failing = False

    def later(self, write: Callable[[], None]) -> None:
        """Call it soon."""
        self._waiting.append(write)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(AFTER_S, self._turn)

    def flush(self) -> None:
        """Call all that wait now; those that fail with a TrimtabError wait on."""
        while self._waiting:
            try:
                self._waiting[0]()
            except TrimtabError as error:
                if not self._failing:
                    logger.error("autoscaling cannot write what it did %s", fields(error=error))
                self._failing = True
                while len(self._waiting) > MOST:
                    self._waiting.popleft()
                return
            except Exception:
                logger.exception("autoscaling: a write failed")
            self._failing = False
            self._waiting.popleft()

    def close(self) -> None:
        """Call what waits, and take nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()

    def _turn(self) -> None:
        self._timer = None
        self.flush()
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(AGAIN_S, self._turn)
