"""What is going on, on stderr: one line that changes on a terminal, a line per change anywhere else."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from trimtab.cli.render import console, say

if TYPE_CHECKING:
    from rich.status import Status


class Progress:
    """`with Progress() as progress: progress.step("uploading")`. Quiet: nothing is said."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
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
            from rich.markup import escape

            self._status.update(escape(text))
        else:
            say(text)

    def update(self, text: str) -> None:
        """How far the step is: only where a line can change."""
        if self._status is not None:
            self._status.update(text)

    def done(self, text: str) -> None:
        """What has been done: stays on the screen."""
        if self._status is not None:
            self._status.console.print(text, markup=False, soft_wrap=True)  # above the status line
        elif not self._quiet:
            say(text)
