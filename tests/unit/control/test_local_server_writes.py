"""What control tells its gateways leaves at once, whatever the same turn of the event loop does next."""

import asyncio
import socket
from pathlib import Path

import uvloop

from trimtab.control.local_server import LocalConnection, LocalServer


def test_what_is_written_has_left_before_the_turn_of_the_event_loop_ends(tmp_path: Path) -> None:
    async def main() -> bytes:
        made: list[LocalConnection] = []

        def connection() -> LocalConnection:
            made.append(LocalConnection(server))
            return made[-1]

        server = LocalServer(tmp_path / "s", connection)
        await server.open()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, str(tmp_path / "s"))
            while not made or not made[0].connected:
                await asyncio.sleep(0)
            made[0].write(b"routes")
            received = client.recv(100)  # in the same turn
        await server.close()
        return received

    assert uvloop.run(main()) == b"routes"
