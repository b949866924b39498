"""What `trimtab serve` takes from the machine first: its port, and as many open files as it may have."""

from __future__ import annotations

import resource
import socket

from trimtab.errors import Invalid

ENOUGH_FILES = 65_536


def allow_many_files() -> None:
    """Connections and workers are files: take as many as the user may have, not only as many as shells start with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one port (0: a free one). The kernel shares connections out among them.

    Invalid, with the cure, when the port cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        probe = socket.create_server((host, port), family=family)  # SO_REUSEPORT would not notice others
        taken = probe.getsockname()[1]
        if count == 1:
            probe.listen(4096)
            return [probe]
        probe.close()
        return [socket.create_server((host, taken), family=family, backlog=4096, reuse_port=True) for _ in range(count)]
    except OSError as error:
        raise Invalid(
            f"trimtab cannot listen on {host}:{port}: {_reason(error)}. "
            "Stop what uses the port, or choose another with --port (0 takes a free one)."
        ) from error


def _reason(error: OSError) -> str:
    """Why, without asyncio's and socket's additions, which name the address again."""
    return str(error.strerror or error).partition(" (while")[0]
