"""Runs a nursery: SOCKET LIFELINE_FD KIND [WARM_IMPORT...]. KIND is tiny or real. Prints `listening` when it does."""

import logging
import os
import sys
from pathlib import Path

from trimtab import logs
from trimtab.engines.local.nursery import main

if __name__ == "__main__":
    socket_path, lifeline_fd, kind, *warm = sys.argv[1:]
    logs.configure("nursery")
    logging.getLogger().setLevel("INFO")
    if kind == "tiny":
        sys.path.insert(0, os.path.dirname(__file__))
        from tiny_worker import run
    else:
        from trimtab.worker.main import run
    sys.exit(main(Path(socket_path), int(lifeline_fd), run, warm, on_listening=lambda: print("listening", flush=True)))
