"""The program `trimtab`. Ctrl-C is heard before anything large is imported: it ends a start without a word."""

from __future__ import annotations

import _signal as signal  # what `signal` wraps, here already: the wrapper takes as long to import as Python to start
import os

INTERRUPTED = 130  # what a shell expects after Ctrl-C


def main() -> None:
    """Run the verb that the command line names. Ends the process."""
    heard = signal.getsignal(signal.SIGINT)
    if heard is signal.default_int_handler:  # a job in a shell's background does not hear it, and goes on so
        signal.signal(signal.SIGINT, _leave)
    from trimtab.cli.main import app

    signal.signal(signal.SIGINT, heard)
    app()


def _leave(number: int, frame: object) -> None:
    """Nothing has been done yet, and what imports would make of an exception in their midst is nobody's to guess."""
    os._exit(INTERRUPTED)
