"""Dialer: opens connections, as many as are allowed."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable

from trimtab.errors import Invalid, Unavailable
from trimtab.jobs.loadtest.connection import Connection
from trimtab.jobs.loadtest.sender import Address

CONNECT_TIMEOUT_S = 5.0


class Dialer:
    """Connections to one address, at most `most` at a time."""

    def __init__(self, address: Address, most: int) -> None:
        self._address = address
        self._most = most
        self._count = 0  # open and opening
        self._tasks: set[asyncio.Task[None]] = set()
        self._where: tuple[str, int] = (address.host, address.port)
        self._tls: ssl.SSLContext | None = None
        self.opening = 0

    async def find(self) -> None:
        """Find an address that takes connections. Raises Unavailable, Invalid for certificates that cannot be read."""
        address = self._address
        if address.tls:
            try:
                self._tls = ssl.create_default_context(cafile=address.ca_file or None)
            except OSError as error:
                raise Invalid(f"The certificates in {address.ca_file} cannot be read: {error}.") from error
        why = "no address"
        try:
            found = await asyncio.get_running_loop().getaddrinfo(*self._where, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(f"{address.host} cannot be found: {error.strerror or error}.") from error
        for *_, where in found:
            self._where = (str(where[0]), int(where[1]))
            try:
                connection = await self._connect(lambda: asyncio.Protocol())
            except (OSError, TimeoutError) as error:
                why = reason(error)
                continue
            connection.abort()
            return
        raise Unavailable(f"Nobody answers at {address.host}:{address.port}: {why}.")

    def dial(
        self, make: Callable[[], Connection], done: Callable[[Connection], None], failed: Callable[[str], None]
    ) -> None:
        """Open one more, unless there are as many as may be; tell one of the two."""
        if self._count >= self._most:
            return
        self._count += 1
        self.opening += 1
        task = asyncio.get_running_loop().create_task(self._dial(make, done, failed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(
        self, make: Callable[[], Connection], done: Callable[[Connection], None], failed: Callable[[str], None]
    ) -> None:
        connection = make()
        try:
            await self._connect(lambda: connection)
        except (OSError, TimeoutError) as error:
            self._count -= 1
            self.opening -= 1
            failed(reason(error))
            return
        self.opening -= 1
        done(connection)

    async def _connect(self, make: Callable[[], asyncio.BaseProtocol]) -> asyncio.Transport:
        host = self._address.host if self._tls is not None else None
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            transport, _ = await asyncio.get_running_loop().create_connection(
                make, *self._where, ssl=self._tls, server_hostname=host
            )
        return transport

    def closed(self) -> None:
        """One that was open is not any more."""
        self._count -= 1

    async def close(self) -> None:
        """Give up what is being opened."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def reason(error: BaseException) -> str:
    """The system's words: `Connection refused`."""
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, OSError) and error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
