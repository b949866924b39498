"""The proxy itself: CONNECT to one host is answered here, over TLS, and its HTTP passed to trimtab byte for byte.

The Host header stays as it is, since it is signed. Every other CONNECT becomes a tunnel that nobody looks into. Who has
not the password in the proxy's URL (other users of this machine) is refused.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import ssl

from msgspec import Struct

from trimtab.cli.proxy.onward import Onward, Streams
from trimtab.errors import Unavailable

logger = logging.getLogger(__name__)

_HEAD_TIMEOUT_S = 30.0
_MAX_HEAD_BYTES = 16_384
_PIECE_BYTES = 65_536


class Answered(Struct, frozen=True):
    """The host that is answered here: its name, the TLS settings to be it, and where trimtab listens."""

    host: str
    port: int
    tls: ssl.SSLContext
    trimtab_host: str
    trimtab_port: int


class _Refused(Exception):
    def __init__(self, status: str, text: str, header: str = "") -> None:
        super().__init__(text)
        self.answer = (
            f"HTTP/1.1 {status}\r\n{header}Content-Type: text/plain\r\nContent-Length: {len(text.encode())}\r\n"
            f"Connection: close\r\n\r\n{text}"
        ).encode()


class ConnectProxy:
    """Serves until closed. `answered`'s host goes to trimtab, all others onward."""

    def __init__(self, answered: Answered, onward: Onward, *, password: str) -> None:
        self._answered = answered
        self._onward = onward
        self._credentials = b"Basic " + base64.b64encode(f"trimtab:{password}".encode())
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen on a free loopback port, and return it."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=_MAX_HEAD_BYTES)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Stop listening and end what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # start_server runs this in a task of its own
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except _Refused as refused:
            await _last_words(writer, refused.answer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            logger.debug("connection ended: %r", error)
        except asyncio.CancelledError:
            logger.debug("connection closed with the program")
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_TIMEOUT_S):
            host, port = await self._connect_target(reader)
        if (host.lower(), port) == (self._answered.host, self._answered.port):
            await self._answer(reader, writer)
        else:
            await self._tunnel((reader, writer), host, port)

    async def _connect_target(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise _Refused("431 Request Header Fields Too Large", "The request head is too large.\n") from None
        line, *fields = head[:-4].split(b"\r\n")
        method, _, rest = line.decode("latin-1").partition(" ")
        if method != "CONNECT":
            raise _Refused("405 Method Not Allowed", "This proxy takes CONNECT only.\n", "Allow: CONNECT\r\n")
        if not self._knows_password(fields):
            raise _Refused(
                "407 Proxy Authentication Required",
                "This proxy belongs to one `trimtab run`.\n",
                'Proxy-Authenticate: Basic realm="trimtab run"\r\n',
            )
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
            raise _Refused("400 Bad Request", "CONNECT needs HOST:PORT.\n")
        return host.removeprefix("[").removesuffix("]"), int(port)

    def _knows_password(self, fields: list[bytes]) -> bool:
        for field in fields:
            name, _, value = field.partition(b":")
            if name.strip().lower() == b"proxy-authorization":
                return hmac.compare_digest(value.strip(), self._credentials)
        return False

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await writer.start_tls(self._answered.tls, ssl_handshake_timeout=_HEAD_TIMEOUT_S)
        try:
            onward = await asyncio.open_connection(self._answered.trimtab_host, self._answered.trimtab_port)
        except OSError as error:
            text = f"trimtab does not answer ({error}); is `trimtab serve` still running?\n"
            raise _Refused("503 Service Unavailable", text) from None
        await _pump_both((reader, writer), onward)

    async def _tunnel(self, client: Streams, host: str, port: int) -> None:
        try:
            onward = await self._onward.open(host, port)
        except (OSError, TimeoutError, Unavailable) as error:
            raise _Refused("502 Bad Gateway", f"{host}:{port} cannot be reached: {error or 'timed out'}\n") from None
        client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await _pump_both(client, onward)


async def _pump_both(one: Streams, other: Streams) -> None:
    """Carry bytes both ways until both sides are done; a side that ends first is told so, not cut off."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(one[0], other[1]))
            group.create_task(_pump(other[0], one[1]))
    except* (OSError, ssl.SSLError) as broken:
        logger.debug("tunnel broke: %r", broken.exceptions)
    finally:
        one[1].close()
        other[1].close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    else:
        writer.close()  # TLS has no half-close here


async def _last_words(writer: asyncio.StreamWriter, answer: bytes) -> None:
    with contextlib.suppress(OSError):  # the client may be gone: nobody is left to tell
        writer.write(answer)
        await writer.drain()
