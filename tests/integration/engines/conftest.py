import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from house import House


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A house with tiny workers. Sockets need a short path, so they do not live below tmp_path."""
    with tempfile.TemporaryDirectory(prefix="tt") as run_dir:
        monkeypatch.setenv("XDG_RUNTIME_DIR", run_dir)
        house = House(tmp_path / "data")
        house.start_nursery()
        yield house
        await house.close()
