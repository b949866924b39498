"""What one client may take from the server before it is refused or cut off."""

from __future__ import annotations

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of one listener. Sizes in bytes, times in seconds; times are kept to within about a second."""

    connections: int = 20_000  # more are told 503 and closed
    head_bytes: int = 65_536  # request line and headers; more: 431
    header_count: int = 128
    head_timeout_s: float = 15.0  # from a request's first byte to its last header byte (slow loris)
    idle_timeout_s: float = 75.0  # between requests; longer than the keep-alive of AWS's clients
    body_grace_s: float = 30.0  # a body may take this long, ...
    body_bytes_per_s: int = 1024  # ... and a second more for each of these that has arrived
    write_timeout_s: float = 60.0  # a client that takes nothing of its answer for so long is cut off
    half_close_s: float = 0.05  # a client that closes its sending half within this after a request awaits the answer
    linger_s: float = 2.0  # after an early refusal: how long to swallow what is still being sent
    discard_bytes: int = 128 * 2**20  # most that is swallowed of a body that nobody wants
    buffered_bytes: int = 2**30  # bodies in memory, over all connections; more: 503
    pipelined: int = 1  # requests parsed ahead of the one in hand before reading is paused
