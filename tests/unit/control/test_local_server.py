"""A local socket can be closed at any moment, and keeps nobody."""

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from trimtab.control.local_server import LocalConnection, LocalServer


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tt") as name:  # short: socket paths have 107 bytes
        yield Path(name)


class Connection(LocalConnection):
    made = False

    def joined(self) -> None:
        self.made = True


@pytest.mark.parametrize("turns", range(5))
def test_it_closes_while_somebody_connects_and_stays(folder: Path, turns: int) -> None:
    """`turns` after the connection was accepted; with none it is not made yet."""
    connections: list[Connection] = []
    closing: list[asyncio.Task[None]] = []

    async def close() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.close()

    def accept() -> Connection:
        closing.append(asyncio.create_task(close()))
        connections.append(Connection(server))
        return connections[-1]

    async def connect() -> None:
        await server.open()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(5):
                await loop.sock_connect(client, str(folder / "s"))
                assert await loop.sock_recv(client, 100) == b"", "it is let go"
                await asyncio.gather(*closing)

    server = LocalServer(folder / "s", accept)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(connect())
    [connection] = connections
    assert connection.made is (turns > 0)
