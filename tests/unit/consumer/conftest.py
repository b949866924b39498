import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest

from trimtab.testing.consuming import consuming


@pytest.fixture
async def place():
    folder = Path(tempfile.mkdtemp(prefix="tt-"))
    async with consuming(folder) as place:
        yield place
    shutil.rmtree(folder)


async def until(look, wait_s=20.0):
    """What `look` finds, as soon as that is something."""
    async with asyncio.timeout(wait_s):
        while True:
            found = look()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)
