"""Runs a nursery: SOCKET LIFELINE_FD KIND [WARM_IMPORT...]. KIND is tiny or real. Prints `listening` when it does.

REHEARSAL=raise | hang: what tiny spares do instead of nothing. MEMORY=FILE: the file says how much is available, in bytes,
and is looked at all the time.
"""

import logging
import os
import signal
import sys
from pathlib import Path

from trimtab import logs
from trimtab.engines.local import spares
from trimtab.engines.local.nursery import main


def rehearse_nothing() -> None:
    if os.environ.get("REHEARSAL") == "raise":
        raise RuntimeError("the rehearsal went wrong")
    if os.environ.get("REHEARSAL") == "hang":
        signal.pause()


if __name__ == "__main__":
    socket_path, lifeline_fd, kind, *warm = sys.argv[1:]
    logs.configure("nursery")
    logging.getLogger().setLevel("INFO")
    if memory := os.environ.get("MEMORY"):
        spares.available_memory = lambda: int(Path(memory).read_text())
        spares._LOOK_S = 0.05
    rehearse = rehearse_nothing
    if kind == "tiny":
        sys.path.insert(0, os.path.dirname(__file__))
        from tiny_worker import run
    else:
        from trimtab.worker.main import run
        from trimtab.worker.rehearsal import rehearse
    sys.exit(
        main(
            Path(socket_path),
            int(lifeline_fd),
            run,
            warm,
            rehearse=rehearse,
            on_listening=lambda: print("listening", flush=True),
        )
    )
