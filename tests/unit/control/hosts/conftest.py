from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trimtab.testing.model_hosts import HostsWorld


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HostsWorld]:
    async with HostsWorld(tmp_path) as world:
        yield world
