"""What is going on, on stderr: one line that changes on a terminal, a line per change anywhere else; there, how far a
long step is, every half a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from trimtab.cli.render import console, say

if TYPE_CHECKING:
    from rich.status import Status


UPDATED_EVERY_S = 30.0  # where a line cannot change


class Progress:
    """`with Progress() as progress: progress.step("uploading")`. Quiet: nothing is said."""

    def __init__(self, *, quiet: bool = False, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._monotonic_s = monotonic_s
        self._said_s = monotonic_s()
        self._last = ""
        self._status: Status | None = None

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            self._status = console(err=True).status("", spinner="dots")
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def step(self, text: str) -> None:
        """What is being done now."""
        if self._quiet or text == self._last:
            return
        self._last = text
        if self._status is not None:
            self._show(self._status, text)
        else:
            self._say(text)

    def update(self, text: str) -> None:
        """How far the step is: at once where a line can change, else now and then."""
        if self._status is not None:
            self._show(self._status, text)
        elif not self._quiet and self._monotonic_s() - self._said_s >= UPDATED_EVERY_S:
            self._say(text)

    def done(self, text: str) -> None:
        """What has been done: stays on the screen."""
        if self._status is not None:
            self._status.console.print(text, markup=False, soft_wrap=True)  # above the status line
        elif not self._quiet:
            self._say(text)

    @staticmethod
    def _show(status: Status, text: str) -> None:
        from rich.markup import escape

        status.update(escape(text))

    def _say(self, text: str) -> None:
        self._said_s = self._monotonic_s()
        say(text)
