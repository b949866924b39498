"""A local socket can be closed at any moment, on the loop that production has."""

import asyncio
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

from trimtab.clock import SystemClock
from trimtab.control.report_server import ReportServer
from trimtab.control.routes import RoutePublisher


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tt") as name:  # short: socket paths have 107 bytes
        yield Path(name)


def publisher(folder: Path) -> RoutePublisher:
    return RoutePublisher(folder / "routes", folder / "s", SystemClock())


def reports(folder: Path) -> ReportServer:
    return ReportServer(folder / "s", None)  # type: ignore[arg-type] # nobody says anything


@pytest.mark.parametrize("server", [publisher, reports])
def test_it_closes_also_while_somebody_connects(
    server: Callable[[Path], RoutePublisher | ReportServer], folder: Path
) -> None:
    async def closed_after(turns: int) -> None:
        made = server(folder)
        await made.open()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "s"))
            for _ in range(turns):  # 0: not accepted yet; then accepted and not made; then made
                await asyncio.sleep(0)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(5):
                await made.close()
                with suppress(ConnectionResetError):
                    while await loop.sock_recv(client, 65_536):  # what was sent before, and then the end
                        pass

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for turns in range(6):
            runner.run(closed_after(turns))
