"""The half of the object store's suite about copies and multipart uploads; `testing.objects` holds the other."""

from __future__ import annotations

import base64
import hashlib
import random
import zlib
from collections.abc import AsyncIterator

import pytest

from trimtab.errors import NotFound
from trimtab.objects.model import Attributes, ChecksumMismatch, InvalidPart, PartTooSmall
from trimtab.objects.store import ObjectStore
from trimtab.objects.uploads import AskedPart, Completion

BUCKET = "models"
MIB = 2**20


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    """`data` as it would come over a network."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(store: ObjectStore, key: str, version_id: str = "", bucket: str = BUCKET) -> bytes:
    """The bytes of an object."""
    return await (await store.open(bucket, key, version_id)).read()


def noise(size_bytes: int) -> bytes:
    """Bytes that do not repeat soon: a piece in the wrong place shows."""
    return random.Random(size_bytes).randbytes(size_bytes)


class ObjectCopyTests:
    """A part of ObjectStoreTests."""

    @pytest.fixture
    async def bucket(self, store: ObjectStore) -> str:
        await store.create_bucket(BUCKET, region="us-east-1")
        return BUCKET

    # Copies

    async def test_a_copy_outlives_its_source(self, store: ObjectStore, bucket: str) -> None:
        data = noise(2 * MIB)
        source = await store.put(bucket, "a", data, attributes=Attributes(metadata={"x": "1"}))
        copy = await store.copy(
            await store.open(bucket, "a"), bucket, "b", attributes=source.attributes, algorithms=("SHA256",)
        )
        assert copy.etag == source.etag
        assert copy.checksums == {"SHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
        await store.delete(bucket, "a")
        assert await read(store, "b") == data
        assert (await store.head(bucket, "b")).attributes.metadata == {"x": "1"}

    async def test_a_copy_onto_itself_changes_its_attributes(self, store: ObjectStore, bucket: str) -> None:
        await store.put(bucket, "a", b"data")
        await store.copy(await store.open(bucket, "a"), bucket, "a", attributes=Attributes(metadata={"n": "2"}))
        assert await read(store, "a") == b"data"
        assert (await store.head(bucket, "a")).attributes.metadata == {"n": "2"}

    async def test_a_source_deleted_while_it_is_copied_is_copied(self, store: ObjectStore, bucket: str) -> None:
        data = noise(2 * MIB)
        await store.put(bucket, "a", data)
        reader = await store.open(bucket, "a")
        await store.delete(bucket, "a")
        await store.copy(reader, bucket, "b", attributes=Attributes())
        assert await read(store, "b") == data

    async def test_tags_can_be_replaced(self, store: ObjectStore, bucket: str) -> None:
        await store.put(bucket, "k", b"x", attributes=Attributes(tags={"a": "1"}, metadata={"m": "1"}))
        await store.set_tags(bucket, "k", {"b": "2"})
        assert (await store.head(bucket, "k")).attributes == Attributes(tags={"b": "2"}, metadata={"m": "1"})

    # Multipart uploads

    async def test_parts_become_the_object_in_order(self, store: ObjectStore, bucket: str) -> None:
        data = noise(11 * MIB + 5)
        upload = await store.create_upload(bucket, "k", attributes=Attributes(metadata={"m": "1"}), algorithm="CRC32")
        cuts = [(2, 5 * MIB, 10 * MIB), (1, 0, 5 * MIB), (3, 10 * MIB, len(data))]
        etags = {n: (await store.put_part(upload, n, pieces(data[a:b]))).etag for n, a, b in cuts}
        assert not (await store.list_objects(bucket)).objects
        asked = tuple(AskedPart(number=n, etag=etags[n]) for n in (1, 2, 3))
        info = await store.complete_upload(bucket, "k", upload.id, Completion(parts=asked))
        joined = b"".join(bytes.fromhex(etags[n]) for n in (1, 2, 3))
        assert info.etag == hashlib.md5(joined, usedforsecurity=False).hexdigest() + "-3"
        assert info.checksum_type == "COMPOSITE"
        assert info.checksums["CRC32"].endswith("-3")
        assert info.attributes.metadata == {"m": "1"}
        assert await read(store, "k") == data
        reader = await store.open(bucket, "k")
        got = b"".join([p async for p in reader.stream(5 * MIB - 3, 10 * MIB + 3)])
        assert got == data[5 * MIB - 3 : 10 * MIB + 3]
        again = await store.complete_upload(bucket, "k", upload.id, Completion(parts=asked))
        assert again == info

    async def test_a_full_object_checksum_is_that_of_the_whole(self, store: ObjectStore, bucket: str) -> None:
        data = noise(5 * MIB + 100)
        crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        upload = await store.create_upload(bucket, "k", algorithm="CRC32", checksum_type="FULL_OBJECT")
        one = await store.put_part(upload, 1, data[: 5 * MIB])
        two = await store.put_part(upload, 2, data[5 * MIB :])
        parts = (AskedPart(number=1, etag=one.etag), AskedPart(number=2, etag=two.etag))
        wrong = Completion(parts=parts, checksums={"CRC32": "AAAAAA=="})
        with pytest.raises(ChecksumMismatch):
            await store.complete_upload(bucket, "k", upload.id, wrong)
        info = await store.complete_upload(
            bucket, "k", upload.id, Completion(parts=parts, checksums={"CRC32": crc}, size_bytes=len(data))
        )
        assert (info.checksums, info.checksum_type) == ({"CRC32": crc}, "FULL_OBJECT")

    async def test_a_part_can_be_sent_again(self, store: ObjectStore, bucket: str) -> None:
        upload = await store.create_upload(bucket, "k")
        await store.put_part(upload, 1, b"first")
        part = await store.put_part(upload, 1, b"second")
        _, parts, more = await store.list_parts(bucket, "k", upload.id)
        assert ([p.size_bytes for p in parts], more) == ([6], False)
        asked = Completion(parts=(AskedPart(number=1, etag=part.etag),))
        await store.complete_upload(bucket, "k", upload.id, asked)
        assert await read(store, "k") == b"second"

    async def test_parts_that_are_not_there_or_too_small_are_refused(self, store: ObjectStore, bucket: str) -> None:
        upload = await store.create_upload(bucket, "k")
        one = await store.put_part(upload, 1, b"small")
        two = await store.put_part(upload, 2, b"small")
        for asked in (AskedPart(number=3, etag=one.etag), AskedPart(number=1, etag="0" * 32)):
            with pytest.raises(InvalidPart):
                await store.complete_upload(bucket, "k", upload.id, Completion(parts=(asked,)))
        both = (AskedPart(number=1, etag=one.etag), AskedPart(number=2, etag=two.etag))
        with pytest.raises(PartTooSmall):
            await store.complete_upload(bucket, "k", upload.id, Completion(parts=both))
        assert (await store.list_uploads(bucket)).uploads[0].id == upload.id

    async def test_an_aborted_upload_is_gone(self, store: ObjectStore, bucket: str) -> None:
        upload = await store.create_upload(bucket, "k")
        await store.put_part(upload, 1, b"x")
        await store.abort_upload(bucket, "k", upload.id)
        with pytest.raises(NotFound) as caught:
            await store.put_part(upload, 2, b"x")
        assert caught.value.kind == "upload"
        assert not (await store.list_uploads(bucket)).uploads

    async def test_a_part_can_be_copied_from_a_range(self, store: ObjectStore, bucket: str) -> None:
        data = noise(6 * MIB)
        await store.put(bucket, "a", data)
        upload = await store.create_upload(bucket, "b")
        one = await store.copy_part(upload, 1, await store.open(bucket, "a"), 0, 5 * MIB)
        two = await store.copy_part(upload, 2, await store.open(bucket, "a"), 5 * MIB, 5 * MIB + 10)
        await store.delete(bucket, "a")
        parts = (AskedPart(number=1, etag=one.etag), AskedPart(number=2, etag=two.etag))
        await store.complete_upload(bucket, "b", upload.id, Completion(parts=parts))
        assert await read(store, "b") == data[: 5 * MIB + 10]

    async def test_uploads_and_parts_are_listed_in_pages(self, store: ObjectStore, bucket: str) -> None:
        ids = [(await store.create_upload(bucket, key)).id for key in ("a", "b", "a", "c/1", "c/2")]
        whole = [ids[0], ids[2], ids[1], ids[3], ids[4]]
        assert [u.id for u in (await store.list_uploads(bucket)).uploads] == whole
        found: list[str] = []
        key = upload_id = ""
        while True:
            page = await store.list_uploads(bucket, after=key, after_upload=upload_id, limit=2)
            found += [u.id for u in page.uploads]
            if not page.is_truncated:
                break
            key, upload_id = page.next_key, page.next_upload_id
        assert found == whole
        assert list((await store.list_uploads(bucket, delimiter="/")).prefixes) == ["c/"]
        upload = await store.get_upload(bucket, "a", ids[0])
        for number in (1, 2, 3):
            await store.put_part(upload, number, b"x")
        _, parts, more = await store.list_parts(bucket, "a", upload.id, after=1, limit=1)
        assert ([p.number for p in parts], more) == ([2], True)
