"""Loopback ports for programs that keep the container contract."""

from __future__ import annotations

import random
import socket

from trimtab.errors import NoCapacity

FIRST, LAST = 20_000, 32_000  # below the range that the kernel gives out by itself (32768 and up)
BLOCK = 16  # one to answer on, the rest is the program's SAGEMAKER_SAFE_PORT_RANGE


class Ports:
    """Blocks of ports, each held by one replica."""

    def __init__(self, rng: random.Random) -> None:
        """`rng` spreads the blocks, so that several trimtabs on one machine seldom meet."""
        self._rng = rng
        self._held: set[int] = set()

    def take(self) -> int:
        """The first port of a block that is free now. Raises NoCapacity after looking at every block."""
        blocks = range(FIRST, LAST, BLOCK)
        offset = self._rng.randrange(len(blocks))
        for step in range(len(blocks)):
            base = blocks[(offset + step) % len(blocks)]
            if base not in self._held and is_free(base):
                self._held.add(base)
                return base
        raise NoCapacity(f"No port between {FIRST} and {LAST} is free.")

    def hold(self, port: int) -> None:
        """Note a port that an adopted program answers on."""
        self._held.add(port)

    def give_back(self, port: int) -> None:
        """The program has ended. Unknown port: no effect."""
        self._held.discard(port)


def safe_range(port: int) -> str:
    """`min-max` of the ports beside `port` that its program may use for itself."""
    return f"{port + 1}-{port + BLOCK - 1}"


def is_free(port: int) -> bool:
    """Whether a program could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
