"""What a load test must be told about the service that it loads. Implemented where AWS is known: `aws/invoker.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from trimtab.jobs.loadtest.payloads import Payload

TIMEOUT: Final = "Timeout"  # no (whole) answer within the time limit
NOT_SENT: Final = "NotSent"  # due, but no connection was free before the time limit
REFUSED: Final = "ConnectionFailed"  # no connection could be made
CLOSED: Final = "ConnectionClosed"  # it broke before the (whole) answer
BAD_ANSWER: Final = "BadAnswer"  # what came is not HTTP


class Address(Struct, frozen=True):
    """Where connections go. `tls` asks for a certificate of `host`; `ca_file` names further authorities."""

    host: str
    port: int
    tls: bool = False
    ca_file: str = ""


class Failure(Struct, frozen=True):
    """An answer that is an error: its kind (AWS's code) and what it said. `hopeless`: all further ones will say it."""

    kind: str
    message: str = ""
    hopeless: bool = False


class StreamReader(Protocol):
    """Reads one streamed answer."""

    def feed(self, data: bytes) -> int:
        """Take more bytes of the body; how many chunks of the model's answer they completed."""
        ...

    @property
    def failure(self) -> Failure | None:
        """The error that the stream told of, so far. A stream that ends within a chunk has failed too."""
        ...


WireAt = Callable[[int], bytes]
"""Seconds since the epoch -> a whole HTTP request, signed for that second. The same bytes may be sent many times."""


class Sender(Protocol):
    """Makes requests and understands answers. Must be picklable: it is sent to the generating processes."""

    @property
    def address(self) -> Address:
        """Where requests go."""
        ...

    @property
    def streams(self) -> bool:
        """Whether answers are streams, read by `stream_reader`."""
        ...

    def wire(self, payload: Payload) -> WireAt:
        """What is sent for a payload."""
        ...

    def failure(self, status: int, error_type: bytes, body: bytes) -> Failure:
        """What an answer that is not 2XX means. `error_type` is its header `x-amzn-errortype`."""
        ...

    def stream_reader(self) -> StreamReader:
        """For one answer."""
        ...
