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
