"""What only this object store does: who holds a blob, and when it goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from trimtab.objects.indexed import IndexedObjectStore
from trimtab.objects.model import Attributes, Versioning

BIG = bytes(20_000)


@pytest.fixture
async def bucket(store: IndexedObjectStore) -> str:
    await store.create_bucket("bucket", region="us-east-1")
    return "bucket"


def blobs(tmp_path: Path) -> list[Path]:
    return [p for p in (tmp_path / "objects" / "blobs").rglob("*") if p.is_file()]


async def test_an_overwritten_blob_goes(store: IndexedObjectStore, bucket: str, tmp_path: Path) -> None:
    for _ in range(3):
        await store.put(bucket, "k", BIG)
    await store.settle()
    assert len(blobs(tmp_path)) == 1


async def test_small_objects_need_no_blob(store: IndexedObjectStore, bucket: str, tmp_path: Path) -> None:
    await store.put(bucket, "k", b"small")
    assert await (await store.open(bucket, "k")).read() == b"small"
    assert blobs(tmp_path) == []


async def test_copies_share_one_blob_until_the_last_goes(
    store: IndexedObjectStore, bucket: str, tmp_path: Path
) -> None:
    await store.put(bucket, "a", BIG)
    await store.copy(await store.open(bucket, "a"), bucket, "b", attributes=Attributes())
    await store.delete(bucket, "a")
    await store.settle()
    assert len(blobs(tmp_path)) == 1
    await store.delete(bucket, "b")
    await store.settle()
    assert blobs(tmp_path) == []


@pytest.mark.parametrize("begun", [True, False])
async def test_a_reader_keeps_the_blob_until_it_is_closed(
    store: IndexedObjectStore, bucket: str, tmp_path: Path, begun: bool
) -> None:
    await store.put(bucket, "k", bytes(3 * 2**20))
    stream = (await store.open(bucket, "k")).stream()
    if begun:
        await anext(stream)
    await store.delete(bucket, "k")
    await store.settle()
    assert len(blobs(tmp_path)) == 1
    await stream.aclose()
    await _let_the_loop_hear_of_it(store)
    assert blobs(tmp_path) == []


async def test_a_reader_that_is_dropped_unread_lets_go(store: IndexedObjectStore, bucket: str, tmp_path: Path) -> None:
    await store.put(bucket, "k", BIG)
    stream = (await store.open(bucket, "k")).stream()
    await store.delete(bucket, "k")
    await store.settle()
    assert len(blobs(tmp_path)) == 1
    del stream
    await _let_the_loop_hear_of_it(store)
    assert blobs(tmp_path) == []


async def _let_the_loop_hear_of_it(store: IndexedObjectStore) -> None:
    """Freeing wakes the removal by a callback, which is queued before this one."""
    heard = asyncio.Event()
    asyncio.get_running_loop().call_soon_threadsafe(heard.set)
    await heard.wait()
    await store.settle()


async def test_whether_an_artifact_is_there_takes_one_look(store: IndexedObjectStore, bucket: str) -> None:
    await store.put(bucket, "llm/config.json", b"{}")
    await store.put(bucket, "model.tar.gz", b"x")
    there = {
        ("s3://bucket/model.tar.gz", True): True,
        ("s3://bucket/llm/", True): False,
        ("s3://bucket/llm/", False): True,
        ("s3://bucket/llm", False): True,
        ("s3://bucket/llm/config.json", False): True,
        ("s3://bucket/none", False): False,
        ("s3://nowhere/model.tar.gz", True): False,
        ("not a url", True): False,
    }
    assert {asked: store.holds(*asked) for asked in there} == there
    await store.change_bucket(bucket, versioning=Versioning.ENABLED)
    await store.delete(bucket, "model.tar.gz")
    assert not store.holds("s3://bucket/model.tar.gz", True)
