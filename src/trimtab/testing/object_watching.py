"""What every object store must tell of changes: a part of `ObjectStoreTests`."""

from __future__ import annotations

import asyncio

import pytest

from trimtab.errors import NotFound
from trimtab.objects.model import ALWAYS, Attributes, Condition, Hidden, PreconditionFailed, Versioning
from trimtab.objects.store import ObjectStore
from trimtab.objects.uploads import AskedPart, Completion


class Told:
    """A watcher that remembers."""

    def __init__(self, store: ObjectStore) -> None:
        self.keys: list[str] = []
        store.watch(lambda bucket, key: self.keys.append(key))

    def since(self) -> list[str]:
        """What was told since the last call."""
        keys, self.keys = self.keys, []
        return keys


class ObjectWatchTests:
    """Whoever watches is told of every change of what `head` answers, before its caller hears of it."""

    async def test_watchers_are_told_of_every_way_to_change_an_object(self, store: ObjectStore, bucket: str) -> None:
        told = Told(store)
        await store.put(bucket, "a", b"1")
        await store.put(bucket, "a", b"x" * 100_000)
        assert told.since() == ["a", "a"]
        await store.copy(await store.open(bucket, "a"), bucket, "b", attributes=Attributes())
        assert told.since() == ["b"]
        upload = await store.create_upload(bucket, "c")
        part = await store.put_part(upload, 1, b"3")
        assert told.since() == []
        await store.complete_upload(bucket, "c", upload.id, Completion(parts=(AskedPart(number=1, etag=part.etag),)))
        assert told.since() == ["c"]
        await store.delete(bucket, "a")
        await store.delete_many(bucket, [("b", "", ALWAYS), ("c", "", ALWAYS)])
        assert told.since() == ["a", "b", "c"]

    async def test_watchers_see_the_change_that_they_are_told_of(self, store: ObjectStore, bucket: str) -> None:
        seen: list[asyncio.Task[str]] = []

        async def look(key: str) -> str:
            try:
                return (await store.head(bucket, key)).etag
            except (NotFound, Hidden):
                return ""

        store.watch(lambda _, key: seen.append(asyncio.ensure_future(look(key))))
        first = await store.put(bucket, "a", b"1")
        assert [await task for task in seen] == [first.etag]
        await store.change_bucket(bucket, versioning=Versioning.ENABLED)
        second = await store.put(bucket, "a", b"2")
        assert await seen[-1] == second.etag
        removal = await store.delete(bucket, "a")
        assert await seen[-1] == ""
        await store.delete(bucket, "a", removal.version_id)  # the marker goes: what it hid is there again
        assert await seen[-1] == second.etag

    async def test_watchers_hear_nothing_of_what_was_refused(self, store: ObjectStore, bucket: str) -> None:
        await store.put(bucket, "a", b"1")
        told = Told(store)
        with pytest.raises(PreconditionFailed):
            await store.put(bucket, "a", b"2", condition=Condition(absent=True))
        assert told.since() == []

    async def test_a_caller_who_leaves_while_it_is_written_leaves_no_watcher_behind(
        self, store: ObjectStore, bucket: str
    ) -> None:
        told = Told(store)
        for number in range(20):
            task = asyncio.ensure_future(store.put(bucket, f"k{number}", b"1"))
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        there = [info.key for info in (await store.list_objects(bucket)).objects]
        assert sorted(told.since()) == sorted(there)

    async def test_a_watcher_that_fails_hurts_nobody(self, store: ObjectStore, bucket: str) -> None:
        def fail(bucket: str, key: str) -> None:
            raise RuntimeError("a watcher's own trouble")

        store.watch(fail)
        told = Told(store)
        await store.put(bucket, "a", b"1")
        assert told.since() == ["a"]
