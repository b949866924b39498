import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))

from house import House


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """As in production; the suite for all engines on the standard loop as well."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    return factories | ({"asyncio": asyncio.new_event_loop} if "test_conformance" in item.nodeid else {})


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A house with tiny workers. Sockets need a short path, so they do not live below tmp_path."""
    with tempfile.TemporaryDirectory(prefix="tt") as run_dir:
        monkeypatch.setenv("XDG_RUNTIME_DIR", run_dir)
        house = House(tmp_path / "data")
        house.start_nursery()
        yield house
        await house.close()
