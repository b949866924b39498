"""The object store over a folder and over memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trimtab.clock import ManualClock
from trimtab.objects.indexed import IndexedObjectStore, open_object_store
from trimtab.testing.objects import ObjectStoreTests


class TestFolder(ObjectStoreTests):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[IndexedObjectStore]:
        store = open_object_store(tmp_path, ManualClock())
        await store.start()
        yield store
        await store.close()


class TestMemory(ObjectStoreTests):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[IndexedObjectStore]:
        store = open_object_store(tmp_path, ManualClock(), blobs_url="memory://")
        await store.start()
        yield store
        await store.close()
