"""The object store: an index in SQLite, which holds small objects too, and blobs through obstore.

Order makes it safe. A write puts its blob, makes it durable, then tells the index in one transaction; until then
nobody sees it. What is overwritten or deleted leaves the index first and the disk after (`reaper.py`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from trimtab.clock import Clock
from trimtab.errors import Invalid, NotFound, RequestError
from trimtab.objects.blobs import Blobs, open_blobs
from trimtab.objects.checksums import Digests
from trimtab.objects.index import Index
from trimtab.objects.listing import Listings
from trimtab.objects.model import (
    ALWAYS,
    Attributes,
    Bucket,
    Condition,
    Hidden,
    Layout,
    ObjectInfo,
    Page,
    Part,
    Removal,
    Upload,
    UploadPage,
    Versioning,
)
from trimtab.objects.names import check_key, parse_url
from trimtab.objects.reading import BlobReader, cut
from trimtab.objects.reaper import GENERATION_BLOBS, Reaper
from trimtab.objects.receive import Source, digest, receive, to_the_end
from trimtab.objects.store import MAX_PUT_BYTES, ObjectReader
from trimtab.objects.uploads import MIN_PART_BYTES, Completion, Uploads
from trimtab.objects.watching import NO_CHANGES, Changes, Watcher, Watchers

INLINE_BYTES = 16 * 1024  # so many rest in the index itself: one write to the disk instead of three
T = TypeVar("T")
_NOTHING: Mapping[str, str] = {}
_PLAIN = Attributes()


class IndexedObjectStore:
    """See `store.ObjectStore`. Made by `open_object_store`; used on one event loop."""

    def __init__(
        self,
        index: Index,
        blobs: Blobs,
        clock: Clock,
        *,
        min_part_bytes: int = MIN_PART_BYTES,
        generation_blobs: int = GENERATION_BLOBS,
        inline_bytes: int = INLINE_BYTES,
    ) -> None:
        self._index = index
        self._blobs = blobs
        self._clock = clock
        self._inline_bytes = inline_bytes
        self._uploads = Uploads(index, min_part_bytes=min_part_bytes)
        self._listings = Listings(index)
        self._thread = ThreadPoolExecutor(1, "trimtab-objects")
        self._watchers = Watchers()
        self._reaper = Reaper(index, blobs, self._write, generation_blobs=generation_blobs)

    async def start(self) -> None:
        """Begin to tidy up after an earlier process. Calls may come at once."""
        await self._reaper.start()

    async def settle(self) -> None:
        """Return when everything that nobody needs is removed."""
        await self._reaper.settle()

    async def close(self) -> None:
        """Finish what is under way and let go of the files."""
        await self._reaper.close()
        await asyncio.to_thread(self._thread.shutdown)
        self._index.close()

    def watch(self, watcher: Watcher) -> None:
        """See ObjectStore.watch."""
        self._watchers.add(watcher)

    # Buckets

    async def create_bucket(self, name: str, *, region: str) -> None:
        """InvalidBucketName; AlreadyExists."""
        bucket = Bucket(name=name, region=region, created_s=self._clock.now_s())
        await self._write(lambda: self._index.create_bucket(bucket))

    async def list_buckets(self) -> Sequence[Bucket]:
        """All, by name."""
        return self._index.list_buckets()

    async def get_bucket(self, name: str) -> Bucket:
        """NotFound("bucket")."""
        return self._index.get_bucket(name)

    async def change_bucket(
        self, name: str, *, versioning: Versioning | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        """Replace what is given. NotFound("bucket")."""
        await self._write(lambda: self._index.change_bucket(name, versioning=versioning, tags=tags))

    async def delete_bucket(self, name: str) -> None:
        """NotFound("bucket"); InUse."""
        await self._write(lambda: self._index.delete_bucket(name))
        self._reaper.wake()

    # Objects

    async def put(
        self,
        bucket: str,
        key: str,
        source: Source,
        *,
        attributes: Attributes = _PLAIN,
        algorithms: Sequence[str] = (),
        expected: Mapping[str, str] = _NOTHING,
        condition: Condition = ALWAYS,
        limit_bytes: int = MAX_PUT_BYTES,
    ) -> ObjectInfo:
        """See ObjectStore.put."""
        check_key(key)
        self._index.get_bucket(bucket)  # before the bytes are taken

        def commit(digests: Digests, layout: Layout) -> ObjectInfo:
            info = self._new(bucket, key, digests, attributes)
            return self._index.put(info, layout, condition)

        return await self._receive(source, commit, algorithms, expected, limit_bytes, (bucket, (key,)))

    async def copy(
        self,
        source: ObjectReader,
        bucket: str,
        key: str,
        *,
        attributes: Attributes,
        algorithms: Sequence[str] = (),
        condition: Condition = ALWAYS,
    ) -> ObjectInfo:
        """See ObjectStore.copy."""
        reader = _mine(source)
        try:
            check_key(key)
            self._index.get_bucket(bucket)
            found, layout = reader.info, Layout(segments=reader.layout.segments)
            info = ObjectInfo(
                bucket=bucket,
                key=key,
                etag=found.etag,
                size_bytes=found.size_bytes,
                attributes=attributes,
                checksums=found.checksums,
            )
            if found.parts_count or (algorithms and not set(algorithms) <= set(found.checksums)):
                digests = await digest(self._peek(reader), algorithms or tuple(found.checksums))
                info = msgspec.structs.replace(info, etag=digests.etag, checksums=digests.checksums())
            info = msgspec.structs.replace(info, modified_s=self._clock.now_s())
            stored = await self._write(lambda: self._index.put(info, layout, condition), (bucket, (key,)))
        finally:
            reader.close()
        self._reaper.wake()
        return stored

    async def head(self, bucket: str, key: str, version_id: str = "") -> ObjectInfo:
        """NotFound("bucket" | "object" | "version"); Hidden."""
        return self._index.find(bucket, key, version_id).info

    async def open(self, bucket: str, key: str, version_id: str = "") -> BlobReader:
        """NotFound("bucket" | "object" | "version"); Hidden."""
        while True:
            found = self._index.find(bucket, key, version_id)
            reader = BlobReader(found.info, found.layout, self._blobs, self._reaper)
            if self._index.is_there(found.row):  # it was, then, when its blobs were held: nobody removes them now
                return reader
            reader.close()

    def holds(self, url: str, compressed: bool) -> bool:
        """Whether a model's artifact is there: an object, or (not `compressed`) anything below a prefix."""
        with suppress(Invalid, NotFound, Hidden):
            bucket, key = parse_url(url)
            if compressed or (key and not key.endswith("/")):
                self._index.find(bucket, key)
                return True
        if compressed:
            return False
        with suppress(Invalid, NotFound):
            bucket, key = parse_url(url)
            prefix = key if not key or key.endswith("/") else f"{key}/"
            return bool(self._listings.objects(bucket, prefix=prefix, delimiter="", after="", limit=1).objects)
        return False

    def holds_bucket(self, url: str) -> bool:
        """Whether the bucket of `s3://bucket/...` is there, whatever is in it."""
        with suppress(Invalid, NotFound):
            self._index.get_bucket(parse_url(url)[0])
            return True
        return False

    async def delete(self, bucket: str, key: str, version_id: str = "", *, condition: Condition = ALWAYS) -> Removal:
        """See ObjectStore.delete."""
        now_s = self._clock.now_s()
        remove = partial(self._index.remove, bucket, key, version_id, condition, now_s)
        removal = await self._write(remove, (bucket, (key,)))
        self._reaper.wake()
        return removal

    async def delete_many(
        self, bucket: str, items: Sequence[tuple[str, str, Condition]]
    ) -> Sequence[Removal | RequestError]:
        """See ObjectStore.delete_many."""
        now_s = self._clock.now_s()
        keys = dict.fromkeys(key for key, _, _ in items)
        results = await self._write(lambda: self._index.remove_many(bucket, items, now_s), (bucket, keys))
        self._reaper.wake()
        return results

    async def set_tags(self, bucket: str, key: str, tags: Mapping[str, str], version_id: str = "") -> str:
        """See ObjectStore.set_tags."""
        return await self._write(lambda: self._index.set_tags(bucket, key, version_id, tags))

    async def list_objects(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", after: str = "", limit: int = 1000
    ) -> Page:
        """See ObjectStore.list_objects."""
        return await asyncio.to_thread(
            self._listings.objects, bucket, prefix=prefix, delimiter=delimiter, after=after, limit=limit
        )

    async def list_versions(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        after_version: str = "",
        limit: int = 1000,
    ) -> Page:
        """See ObjectStore.list_versions."""
        return await asyncio.to_thread(
            self._listings.versions,
            bucket,
            prefix=prefix,
            delimiter=delimiter,
            after=after,
            after_version=after_version,
            limit=limit,
        )

    # Multipart uploads

    async def create_upload(
        self,
        bucket: str,
        key: str,
        *,
        attributes: Attributes = _PLAIN,
        algorithm: str = "",
        checksum_type: str = "",
    ) -> Upload:
        """See ObjectStore.create_upload."""
        upload = Upload(
            id=uuid.uuid4().hex,
            bucket=bucket,
            key=key,
            created_s=self._clock.now_s(),
            attributes=attributes,
            algorithm=algorithm,
            checksum_type=checksum_type,
        )
        await self._write(lambda: self._uploads.create(upload))
        return upload

    async def get_upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """NotFound("bucket" | "upload")."""
        return self._uploads.find(bucket, key, upload_id)

    async def put_part(
        self,
        upload: Upload,
        number: int,
        source: Source,
        *,
        algorithms: Sequence[str] = (),
        expected: Mapping[str, str] = _NOTHING,
    ) -> Part:
        """See ObjectStore.put_part."""

        def commit(digests: Digests, layout: Layout) -> Part:
            part = self._part(number, digests)
            self._uploads.put_part(upload.bucket, upload.key, upload.id, part, layout)
            return part

        wanted = [name for name in (upload.algorithm,) if name]
        return await self._receive(source, commit, (*algorithms, *wanted), expected, MAX_PUT_BYTES)

    async def copy_part(
        self, upload: Upload, number: int, source: ObjectReader, start: int = 0, stop: int | None = None
    ) -> Part:
        """See ObjectStore.copy_part."""
        reader = _mine(source)
        try:
            end = reader.info.size_bytes if stop is None else stop
            digests = await digest(self._peek(reader, start, end), [upload.algorithm] if upload.algorithm else [])
            part = self._part(number, digests)
            layout = Layout(segments=cut(reader.layout.segments, start, end))
            await self._write(lambda: self._uploads.put_part(upload.bucket, upload.key, upload.id, part, layout))
        finally:
            reader.close()
        self._reaper.wake()
        return part

    async def list_parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[Upload, Sequence[Part], bool]:
        """See ObjectStore.list_parts."""
        return await asyncio.to_thread(self._uploads.list_parts, bucket, key, upload_id, after=after, limit=limit)

    async def complete_upload(self, bucket: str, key: str, upload_id: str, completion: Completion) -> ObjectInfo:
        """See ObjectStore.complete_upload."""
        now_s = self._clock.now_s()
        complete = partial(self._uploads.complete, bucket, key, upload_id, completion, now_s)
        info = await self._write(complete, (bucket, (key,)))
        self._reaper.wake()
        return info

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        """NotFound("bucket" | "upload")."""
        await self._write(lambda: self._uploads.abort(bucket, key, upload_id))
        self._reaper.wake()

    async def list_uploads(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        after_upload: str = "",
        limit: int = 1000,
    ) -> UploadPage:
        """See ObjectStore.list_uploads."""
        return await asyncio.to_thread(
            self._listings.uploads,
            bucket,
            prefix=prefix,
            delimiter=delimiter,
            after=after,
            after_upload=after_upload,
            limit=limit,
        )

    # How

    async def _receive(
        self,
        source: Source,
        commit: Callable[[Digests, Layout], T],
        algorithms: Sequence[str],
        expected: Mapping[str, str],
        limit_bytes: int,
        changes: Changes = NO_CHANGES,
    ) -> T:
        self._index.require_room()
        named: list[str] = []

        async def new_blob() -> str:
            named.append(await self._reaper.new_blob())
            return named[-1]

        try:
            digests, layout = await receive(
                self._blobs,
                new_blob,
                source,
                algorithms=algorithms,
                expected=expected,
                limit_bytes=limit_bytes,
                inline_bytes=self._inline_bytes,
            )
            stored = await self._write(lambda: commit(digests, layout), changes)
        except BaseException:
            for blob in named:
                self._reaper.abandoned(blob)
            raise
        for blob in named:
            await self._reaper.written(blob)
        self._reaper.wake()
        return stored

    async def _write(self, function: Callable[[], T], changes: Changes = NO_CHANGES) -> T:
        """Run a change of the index on its thread. A caller who is cancelled waits for it all the same."""
        written = asyncio.get_running_loop().run_in_executor(self._thread, function)
        return await to_the_end(self._watchers.tell_after(written, changes))

    def _peek(self, reader: BlobReader, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of a reader that stays open."""
        return BlobReader(reader.info, reader.layout, self._blobs, self._reaper).stream(start, stop)

    def _new(self, bucket: str, key: str, digests: Digests, attributes: Attributes) -> ObjectInfo:
        return ObjectInfo(
            bucket=bucket,
            key=key,
            etag=digests.etag,
            size_bytes=digests.size_bytes,
            modified_s=self._clock.now_s(),
            attributes=attributes,
            checksums=digests.checksums(),
        )

    def _part(self, number: int, digests: Digests) -> Part:
        return Part(
            number=number,
            etag=digests.etag,
            size_bytes=digests.size_bytes,
            modified_s=self._clock.now_s(),
            checksums=digests.checksums(),
        )


def open_object_store(folder: Path, clock: Clock, *, blobs_url: str = "") -> IndexedObjectStore:
    """The store whose index is in `folder`, and whose blobs are there too, or where `blobs_url` says.

    `start` it on the event loop that uses it. Raises Invalid when the folder is another version's.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return IndexedObjectStore(Index(folder / "index.db"), open_blobs(folder / "blobs", blobs_url), clock)


def _mine(reader: ObjectReader) -> BlobReader:
    if not isinstance(reader, BlobReader):
        raise NotFound("object", reader.info.key, "Objects can be copied within one object store only.")
    return reader
