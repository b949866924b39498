from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trimtab.clock import ManualClock
from trimtab.objects.indexed import IndexedObjectStore, open_object_store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[IndexedObjectStore]:
    store = open_object_store(tmp_path / "objects", clock)
    await store.start()
    yield store
    await store.close()
