"""Application Auto Scaling in memory."""

from __future__ import annotations

from typing import Any

import pytest
from scaling_world import PLACE, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def client(world: World) -> Any:
    return world.client()


@pytest.fixture
def target(client: Any) -> None:
    """The variant blue of the endpoint fraud can be scaled."""
    client.register_scalable_target(**PLACE, MinCapacity=1, MaxCapacity=4)
