"""The socket of a worker, made by whoever gets there first: the nursery that bears it, or the worker itself."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def listen(path: str) -> socket.socket:
    """Bind and listen at `path`, for this user only; a stale socket there is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        Path(path).unlink(missing_ok=True)
        listener.bind(path)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(mask)
    return listener
