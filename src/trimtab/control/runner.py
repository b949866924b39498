"""Runner: the task of one endpoint. Sleeps until woken or due; backs off when a turn fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from trimtab.clock import Clock
from trimtab.control.reconciler import Outcome

_RETRY_BASE_S = 0.1
_RETRY_MAX_S = 10.0

Settle = Callable[[str, float | None], Awaitable[Outcome]]  # endpoint key, monotonic seconds of what woke it
Failed = Callable[[str, Exception, float], None]  # endpoint key, error, seconds until the retry


class Runner:
    """Calls `settle` for one endpoint, again and again. A wake while it works is not lost."""

    def __init__(self, key: str, settle: Settle, failed: Failed, clock: Clock) -> None:
        self.key = key
        self._settle = settle
        self._failed = failed
        self._clock = clock
        self._event = asyncio.Event()
        self._woken_s: float | None = None

    @property
    def woken(self) -> bool:
        """Whether a wake is still to be answered."""
        return self._event.is_set()

    def wake(self) -> None:
        """Something about the endpoint has changed."""
        if self._woken_s is None:
            self._woken_s = self._clock.monotonic_s()
        self._event.set()

    async def run(self) -> None:
        """Until nothing of the endpoint is left."""
        failures = 0
        while True:
            self._event.clear()
            woken_s, self._woken_s = self._woken_s, None
            try:
                outcome = await self._settle(self.key, woken_s)
            except Exception as error:  # noqa: BLE001 logged and recorded by `failed`; the loop must go on
                wait_s: float | None = min(_RETRY_MAX_S, _RETRY_BASE_S * 2.0 ** min(failures, 16))
                failures += 1
                self._failed(self.key, error, wait_s or 0.0)
            else:
                failures = 0
                if outcome.idle and not self.woken:
                    return
                wait_s = outcome.wake_in_s
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._event.wait()
