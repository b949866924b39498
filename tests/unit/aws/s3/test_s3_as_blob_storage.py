"""The object store whose blobs are in an S3 bucket: here trimtab's own, behind a real socket and real signatures."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from trimtab.clock import ManualClock
from trimtab.objects import schema
from trimtab.objects.blobs import open_blobs
from trimtab.objects.index import Index
from trimtab.objects.indexed import IndexedObjectStore
from trimtab.testing.objects import ObjectStoreTests

_numbers = itertools.count()


class TestBlobsInS3(ObjectStoreTests):
    @pytest.fixture
    async def store(
        self, tmp_path: Path, endpoint: Any, s3: Any, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[IndexedObjectStore]:
        backing = f"backing-{next(_numbers)}"
        s3.create_bucket(Bucket=backing)
        for name, value in endpoint.environment().items():
            monkeypatch.setenv(name, value)
        blobs = open_blobs(tmp_path / "unused", f"s3://{backing}/blobs")
        store = IndexedObjectStore(Index(tmp_path / "index.db"), blobs, ManualClock(), inline_bytes=0)
        await store.start()
        yield store
        await store.settle()
        there = s3.list_objects_v2(Bucket=backing)["KeyCount"]
        with store._index.look() as connection:
            needed = connection.scalar(sa.select(sa.func.count(schema.references.c.blob.distinct())))
        await store.close()
        assert there == needed
