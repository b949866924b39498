"""Looker: keeps a gateway's event loop looking for an answer that is about to come, instead of sleeping."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from trimtab.gateway.calls import Call
from trimtab.policies.patience import look_s


class Looker:
    """One per gateway: looking for one answer finds every other one too."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._call: Call | None = None
        self._until_s = 0.0

    def expect(self, call: Call, expected_s: float, alone_in_a_row: int) -> None:
        """The answer to `call`, just sent, is expected in `expected_s`. Call from the event loop."""
        patience_s = look_s(expected_s, alone_in_a_row)
        if patience_s and self._call is None:
            self._call, self._until_s = call, call.sent_s + patience_s
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """A callback that is due keeps the loop from sleeping: it polls its sockets and comes back here."""
        call = self._call
        if call is None or call.done or self._now_s() >= self._until_s:
            self._call = None
        else:
            os.sched_yield()  # whoever else wants this processor comes first
            asyncio.get_running_loop().call_soon(self._turn)
