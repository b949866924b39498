from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.testing.live_scaling import LiveScalingWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LiveScalingWorld]:
    world = LiveScalingWorld(tmp_path)
    yield world
    world.close()
