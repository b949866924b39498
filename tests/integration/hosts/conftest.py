import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))

from estate import Estate


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """As in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def estate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Estate]:
    """Sockets need a short path, so they do not live below tmp_path."""
    with tempfile.TemporaryDirectory(prefix="tt") as run_dir:
        monkeypatch.setenv("XDG_RUNTIME_DIR", run_dir)
        estate = Estate(tmp_path / "data")
        estate.start_nursery()
        await estate.control.open()
        yield estate
        await estate.close()
