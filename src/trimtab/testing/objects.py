"""What every object store must do. Subclass `ObjectStoreTests` and give it a `store` fixture:

class TestMyStore(ObjectStoreTests):
    @pytest.fixture
    async def store(self, tmp_path): ...
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator

import pytest

from trimtab.errors import AlreadyExists, InUse, NotFound, TooLarge
from trimtab.objects.model import (
    NULL_VERSION,
    Attributes,
    ChecksumMismatch,
    Condition,
    Hidden,
    PreconditionFailed,
    Removal,
    Versioning,
)
from trimtab.objects.names import InvalidBucketName, InvalidKey, KeyTooLong
from trimtab.objects.store import ObjectStore
from trimtab.testing.object_uploads import MIB, ObjectCopyTests, noise, pieces, read
from trimtab.testing.object_watching import ObjectWatchTests


async def broken(data: bytes) -> AsyncIterator[bytes]:
    """A client that leaves half-way."""
    yield data
    raise ConnectionResetError("the client left")


class ObjectStoreTests(ObjectCopyTests, ObjectWatchTests):
    """The suite. Every test gets a store without buckets."""

    @pytest.fixture
    async def versioned(self, store: ObjectStore, bucket: str) -> str:
        await store.change_bucket(bucket, versioning=Versioning.ENABLED)
        return bucket

    # Buckets

    async def test_a_new_store_has_no_buckets(self, store: ObjectStore) -> None:
        assert list(await store.list_buckets()) == []

    async def test_buckets_are_listed_by_name(self, store: ObjectStore) -> None:
        for name in ("zoo", "aardvark", "mid.dle"):
            await store.create_bucket(name, region="eu-west-1")
        assert [b.name for b in await store.list_buckets()] == ["aardvark", "mid.dle", "zoo"]
        assert (await store.get_bucket("zoo")).region == "eu-west-1"

    async def test_a_bucket_cannot_be_created_twice(self, store: ObjectStore, bucket: str) -> None:
        with pytest.raises(AlreadyExists):
            await store.create_bucket(bucket, region="us-east-1")

    @pytest.mark.parametrize(
        "name", ["ab", "A-upper", "-dash", "dash-", "dot..dot", "192.168.0.1", "under_score", "a" * 64, "xn--x", "x/y"]
    )
    async def test_a_bucket_name_that_s3_refuses_is_refused(self, store: ObjectStore, name: str) -> None:
        with pytest.raises(InvalidBucketName):
            await store.create_bucket(name, region="us-east-1")

    async def test_a_bucket_with_objects_cannot_be_deleted(self, store: ObjectStore, bucket: str) -> None:
        await store.put(bucket, "k", b"x")
        with pytest.raises(InUse):
            await store.delete_bucket(bucket)
        await store.delete(bucket, "k")
        await store.delete_bucket(bucket)
        with pytest.raises(NotFound):
            await store.get_bucket(bucket)

    async def test_deleting_a_bucket_ends_its_uploads(self, store: ObjectStore, bucket: str) -> None:
        upload = await store.create_upload(bucket, "k")
        await store.put_part(upload, 1, b"x")
        await store.delete_bucket(bucket)
        await store.create_bucket(bucket, region="us-east-1")
        with pytest.raises(NotFound):
            await store.get_upload(bucket, "k", upload.id)

    async def test_tags_and_versioning_of_a_bucket_are_kept(self, store: ObjectStore, bucket: str) -> None:
        await store.change_bucket(bucket, tags={"team": "risk"})
        await store.change_bucket(bucket, versioning=Versioning.SUSPENDED)
        found = await store.get_bucket(bucket)
        assert (found.tags, found.versioning) == ({"team": "risk"}, Versioning.SUSPENDED)

    async def test_a_missing_bucket_is_said_to_be_missing(self, store: ObjectStore) -> None:
        for call in (
            store.put("nowhere", "k", b""),
            store.head("nowhere", "k"),
            store.open("nowhere", "k"),
            store.delete("nowhere", "k"),
            store.list_objects("nowhere"),
            store.list_versions("nowhere"),
            store.list_uploads("nowhere"),
            store.create_upload("nowhere", "k"),
            store.delete_bucket("nowhere"),
        ):
            with pytest.raises(NotFound) as caught:
                await call
            assert caught.value.kind == "bucket"

    # Objects

    @pytest.mark.parametrize("size_bytes", [0, 1, 65_537, MIB - 1, MIB, MIB + 1, 5 * MIB + 7])
    async def test_what_was_put_is_got(self, store: ObjectStore, bucket: str, size_bytes: int) -> None:
        data = noise(size_bytes)
        info = await store.put(bucket, "k", pieces(data))
        assert info.etag == hashlib.md5(data, usedforsecurity=False).hexdigest()
        assert info.size_bytes == size_bytes
        assert await read(store, "k") == data
        assert await store.head(bucket, "k") == info
        reader = await store.open(bucket, "k")
        assert b"".join([piece async for piece in reader.stream()]) == data

    @pytest.mark.parametrize(
        "key", ["a", "a/b", "a/", "/", "//", "..", "../../etc/passwd", "\x00", "é", "日本", "a b+c%20?#&", "x" * 1024]
    )
    async def test_any_key_of_s3_names_its_own_object(self, store: ObjectStore, bucket: str, key: str) -> None:
        await store.put(bucket, "other", b"other")
        await store.put(bucket, key, key.encode())
        assert await read(store, key) == key.encode()
        assert {o.key for o in (await store.list_objects(bucket)).objects} == {"other", key}

    async def test_a_key_and_keys_below_it_live_together(self, store: ObjectStore, bucket: str) -> None:
        for key in ("a", "a/b", "a/b/c", "a/"):
            await store.put(bucket, key, key.encode())
        for key in ("a", "a/b", "a/b/c", "a/"):
            assert await read(store, key) == key.encode()

    async def test_an_impossible_key_is_refused(self, store: ObjectStore, bucket: str) -> None:
        with pytest.raises(KeyTooLong):
            await store.put(bucket, "é" * 513, b"")
        for key in ("", "\ud800"):
            with pytest.raises(InvalidKey):
                await store.put(bucket, key, b"")

    async def test_a_range_is_a_range_of_the_bytes(self, store: ObjectStore, bucket: str) -> None:
        data = noise(3 * MIB)
        await store.put(bucket, "k", data)
        for start, stop in ((0, 1), (5, 70_000), (MIB - 1, 2 * MIB + 1), (3 * MIB - 1, 3 * MIB), (7, 7)):
            reader = await store.open(bucket, "k")
            assert b"".join([p async for p in reader.stream(start, stop)]) == data[start:stop]

    async def test_attributes_are_kept(self, store: ObjectStore, bucket: str) -> None:
        attributes = Attributes(
            headers={"content-type": "text/csv"}, metadata={"owner": "risk é"}, tags={"stage": "prod"}
        )
        await store.put(bucket, "k", b"x", attributes=attributes)
        assert (await store.head(bucket, "k")).attributes == attributes

    async def test_an_overwrite_replaces_all_of_it(self, store: ObjectStore, bucket: str) -> None:
        await store.put(bucket, "k", b"one", attributes=Attributes(metadata={"a": "1"}))
        await store.put(bucket, "k", b"two")
        assert await read(store, "k") == b"two"
        assert (await store.head(bucket, "k")).attributes == Attributes()

    async def test_a_reader_finishes_what_was_overwritten_or_deleted(self, store: ObjectStore, bucket: str) -> None:
        data = noise(4 * MIB)
        await store.put(bucket, "k", data)
        reader = await store.open(bucket, "k")
        stream = reader.stream(chunk_bytes=MIB)
        got = await anext(stream)
        await store.put(bucket, "k", b"new")
        await store.delete(bucket, "k")
        assert got + b"".join([piece async for piece in stream]) == data

    async def test_a_missing_object_is_said_to_be_missing(self, store: ObjectStore, bucket: str) -> None:
        with pytest.raises(NotFound) as caught:
            await store.open(bucket, "k")
        assert (caught.value.kind, caught.value.name) == ("object", "k")
        assert await store.delete(bucket, "k") == Removal()

    # Half-done writes

    async def test_a_client_that_leaves_leaves_nothing(self, store: ObjectStore, bucket: str) -> None:
        await store.put(bucket, "k", b"before")
        for size_bytes in (10, 3 * MIB):
            with pytest.raises(ConnectionResetError):
                await store.put(bucket, "k", broken(noise(size_bytes)))
        assert await read(store, "k") == b"before"

    async def test_bytes_that_are_not_those_promised_are_refused(self, store: ObjectStore, bucket: str) -> None:
        wrong = base64.b64encode(hashlib.md5(b"else", usedforsecurity=False).digest()).decode()
        for data in (b"x", noise(2 * MIB)):
            for name in ("MD5", "SHA256", "CRC32"):
                with pytest.raises(ChecksumMismatch, match=name):
                    await store.put(bucket, "k", pieces(data), expected={name: wrong})
        with pytest.raises(NotFound):
            await store.head(bucket, "k")

    async def test_a_body_over_the_limit_is_refused(self, store: ObjectStore, bucket: str) -> None:
        for size_bytes in (11, 3 * MIB):
            with pytest.raises(TooLarge):
                await store.put(bucket, "k", pieces(noise(size_bytes)), limit_bytes=size_bytes - 1)
        assert not (await store.list_objects(bucket)).objects

    # Checksums

    async def test_checksums_are_kept(self, store: ObjectStore, bucket: str) -> None:
        info = await store.put(bucket, "k", b"123456789", algorithms=("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"))
        assert info.checksums == {  # the published check values of "123456789"
            "CRC32": base64.b64encode(bytes.fromhex("cbf43926")).decode(),
            "CRC32C": base64.b64encode(bytes.fromhex("e3069283")).decode(),
            "CRC64NVME": base64.b64encode(bytes.fromhex("ae8b14860a799888")).decode(),
            "SHA1": base64.b64encode(hashlib.sha1(b"123456789", usedforsecurity=False).digest()).decode(),
            "SHA256": base64.b64encode(hashlib.sha256(b"123456789").digest()).decode(),
        }

    # Conditions

    async def test_create_only_refuses_what_exists(self, store: ObjectStore, bucket: str) -> None:
        absent = Condition(absent=True)
        await store.put(bucket, "k", b"1", condition=absent)
        with pytest.raises(PreconditionFailed):
            await store.put(bucket, "k", b"2", condition=absent)
        await store.delete(bucket, "k")
        await store.put(bucket, "k", b"3", condition=absent)
        assert await read(store, "k") == b"3"

    async def test_compare_and_swap_wants_the_etag_that_is_there(self, store: ObjectStore, bucket: str) -> None:
        with pytest.raises(NotFound):
            await store.put(bucket, "k", b"1", condition=Condition(etag="*"))
        first = await store.put(bucket, "k", b"1")
        await store.put(bucket, "k", b"2", condition=Condition(etag=first.etag))
        with pytest.raises(PreconditionFailed):
            await store.put(bucket, "k", b"3", condition=Condition(etag=first.etag))
        with pytest.raises(PreconditionFailed):
            await store.delete(bucket, "k", condition=Condition(etag=first.etag))
        assert await read(store, "k") == b"2"

    # Listings

    async def test_keys_are_listed_in_the_order_of_their_bytes(self, store: ObjectStore, bucket: str) -> None:
        keys = ["b", "B", "a/", "a", "é", "z", "a\x00", "\U0001f600", "\uffff", "a/b"]
        for key in keys:
            await store.put(bucket, key, b"")
        listed = [o.key for o in (await store.list_objects(bucket)).objects]
        assert listed == sorted(keys, key=str.encode)

    async def test_pages_join_up_to_the_whole(self, store: ObjectStore, bucket: str) -> None:
        keys = [*sorted(f"{a}/{b}" for a in "abc" for b in range(7)), "top"]
        for key in keys:
            await store.put(bucket, key, b"")
        for delimiter, whole in (("", keys), ("/", ["a/", "b/", "c/", "top"])):
            for limit in (1, 2, 3, 100):
                found: list[str] = []
                after = ""
                while True:
                    page = await store.list_objects(bucket, delimiter=delimiter, after=after, limit=limit)
                    found += sorted([*(o.key for o in page.objects), *page.prefixes])
                    assert page.is_truncated == (len(found) < len(whole))
                    if not page.is_truncated:
                        break
                    after = page.next_after
                assert found == whole

    async def test_a_delimiter_rolls_up_below_the_prefix(self, store: ObjectStore, bucket: str) -> None:
        for key in ("m/a/1", "m/a/2", "m/b", "m/", "n/x", "m--1", "m--2"):
            await store.put(bucket, key, b"")
        page = await store.list_objects(bucket, prefix="m/", delimiter="/")
        assert [o.key for o in page.objects] == ["m/", "m/b"]
        assert list(page.prefixes) == ["m/a/"]
        page = await store.list_objects(bucket, delimiter="--")
        assert list(page.prefixes) == ["m--"]

    async def test_a_listing_after_a_common_prefix_skips_all_of_it(self, store: ObjectStore, bucket: str) -> None:
        for key in ("a/1", "a/2", "b/1", "c"):
            await store.put(bucket, key, b"")
        page = await store.list_objects(bucket, delimiter="/", after="a/")
        assert (list(page.prefixes), [o.key for o in page.objects]) == (["b/"], ["c"])

    async def test_no_keys_are_listed_when_none_are_asked_for(self, store: ObjectStore, bucket: str) -> None:
        await store.put(bucket, "k", b"")
        page = await store.list_objects(bucket, limit=0)
        assert (list(page.objects), page.is_truncated) == ([], False)

    # Versions

    async def test_an_overwrite_keeps_the_version_before(self, store: ObjectStore, versioned: str) -> None:
        one = await store.put(versioned, "k", b"one")
        two = await store.put(versioned, "k", b"two")
        assert one.version_id != two.version_id
        assert await read(store, "k") == b"two"
        assert await read(store, "k", one.version_id) == b"one"
        versions = (await store.list_versions(versioned)).objects
        assert [(v.version_id, v.is_latest) for v in versions] == [(two.version_id, True), (one.version_id, False)]

    async def test_a_delete_hides_and_deleting_the_marker_shows_again(self, store: ObjectStore, versioned: str) -> None:
        one = await store.put(versioned, "k", b"one")
        removal = await store.delete(versioned, "k")
        assert removal.is_delete_marker
        with pytest.raises(Hidden) as caught:
            await store.head(versioned, "k")
        assert (caught.value.version_id, caught.value.asked) == (removal.version_id, False)
        assert not (await store.list_objects(versioned)).objects
        with pytest.raises(Hidden):
            await store.open(versioned, "k", removal.version_id)
        assert await store.delete(versioned, "k", removal.version_id) == removal
        assert await read(store, "k") == b"one"
        assert (await store.head(versioned, "k")).version_id == one.version_id

    async def test_deleting_the_latest_version_uncovers_the_one_before(
        self, store: ObjectStore, versioned: str
    ) -> None:
        await store.put(versioned, "k", b"one")
        two = await store.put(versioned, "k", b"two")
        await store.delete(versioned, "k", two.version_id)
        assert await read(store, "k") == b"one"
        assert (await store.list_versions(versioned)).objects[0].is_latest

    async def test_a_suspended_bucket_keeps_one_null_version(self, store: ObjectStore, versioned: str) -> None:
        kept = await store.put(versioned, "k", b"kept")
        await store.change_bucket(versioned, versioning=Versioning.SUSPENDED)
        for data in (b"a", b"b"):
            assert (await store.put(versioned, "k", data)).version_id == NULL_VERSION
        assert [v.version_id for v in (await store.list_versions(versioned)).objects] == [NULL_VERSION, kept.version_id]
        assert await store.delete(versioned, "k") == Removal(version_id=NULL_VERSION, is_delete_marker=True)
        assert [v.is_delete_marker for v in (await store.list_versions(versioned)).objects] == [True, False]
        assert await read(store, "k", kept.version_id) == b"kept"

    async def test_pages_of_versions_join_up_to_the_whole(self, store: ObjectStore, versioned: str) -> None:
        for _ in range(3):
            for key in ("a", "b/1", "b/2", "c"):
                await store.put(versioned, key, b"")
        whole = [(v.key, v.version_id) for v in (await store.list_versions(versioned)).objects]
        assert len(whole) == 12
        for limit in (1, 2, 5):
            found: list[tuple[str, str]] = []
            after = version = ""
            while True:
                page = await store.list_versions(versioned, after=after, after_version=version, limit=limit)
                found += [(v.key, v.version_id) for v in page.objects]
                if not page.is_truncated:
                    break
                after, version = page.next_after, page.next_version_id
            assert found == whole
        rolled = await store.list_versions(versioned, delimiter="/", limit=4)
        assert (list(rolled.prefixes), rolled.is_truncated, rolled.next_after) == (["b/"], True, "b/")
        rest = await store.list_versions(versioned, delimiter="/", after=rolled.next_after)
        assert [v.key for v in rest.objects] == ["c", "c", "c"]

    async def test_many_deletes_answer_for_each(self, store: ObjectStore, versioned: str) -> None:
        one = await store.put(versioned, "a", b"1")
        await store.put(versioned, "b", b"2")
        always = Condition()
        results = await store.delete_many(
            versioned,
            [("a", one.version_id, always), ("b", "", always), ("none", "", always), ("b", "", Condition(etag="x"))],
        )
        assert results[0] == Removal(version_id=one.version_id)
        assert [isinstance(r, Removal) and r.is_delete_marker for r in results] == [False, True, True, False]
        assert isinstance(results[3], NotFound)
