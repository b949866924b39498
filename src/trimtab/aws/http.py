"""HTTP as the edge's handlers see it: a request, a response, no sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol
from urllib.parse import unquote

from msgspec import Struct, field


class Body(Protocol):
    """A request body that may not have arrived yet. Read it once: whole, or piece by piece."""

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises TooLarge beyond `limit_bytes`, Invalid when the client left half-way."""
        ...

    def stream(self) -> AsyncIterator[bytes]:
        """The body's pieces as they arrive, with back-pressure on the client."""
        ...


class Headers:
    """Header fields in the order received; look-ups ignore case, and repeated fields are joined with a comma."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, str]] | None = None) -> None:
        self.pairs = pairs or []  # names lower case, values stripped, latin-1

    def get(self, name: str, default: str = "") -> str:
        """The value of `name` (any case), or `default`."""
        name = name.lower()
        values = [v for n, v in self.pairs if n == name]
        return ",".join(values) if values else default

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(n == name.lower() for n, _ in self.pairs)


class HttpRequest(Struct, kw_only=True):
    """One request. `raw_path` and `query` are as received (SigV4 needs them so), without the `?`."""

    method: str
    raw_path: str
    query: str = ""
    headers: Headers = field(default_factory=Headers)
    body: Body
    peer: str = ""  # address of the client, for the log

    @property
    def path(self) -> str:
        """The percent-decoded path."""
        return unquote(self.raw_path)


class HttpResponse(Struct, kw_only=True):
    """One response. A `bytes` body gets its Content-Length; an iterator without one is sent chunked."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | AsyncIterator[bytes] = b""


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


class BytesBody:
    """A body that is already here (tests, small requests)."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    async def read(self, limit_bytes: int) -> bytes:
        """The bytes; TooLarge beyond the limit."""
        from trimtab.errors import TooLarge

        if len(self._data) > limit_bytes:
            raise TooLarge(f"The body is over {limit_bytes} bytes.", limit_bytes=limit_bytes)
        return self._data

    async def stream(self) -> AsyncIterator[bytes]:
        """The bytes, in one piece."""
        if self._data:
            yield self._data
