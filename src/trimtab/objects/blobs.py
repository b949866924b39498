"""Blobs: bytes under a name that is used once, through obstore: in a folder, in memory, or in any S3.

A blob is never changed: an object that is overwritten gets another blob. So a reader needs no lock, and a copy no
bytes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from trimtab.errors import Invalid, Unavailable
from trimtab.files import sync_folder
from trimtab.objects.model import StorageFull

CHUNK_BYTES = 2**20  # what a reader is handed at a time

_FULL = ("os error 28", "No space left", "os error 122", "Disk quota exceeded")  # ENOSPC, EDQUOT


class Blobs:
    """Blobs in any store of obstore's whose `put` is durable when it returns (S3), or that is not meant to last."""

    part_bytes = 8 * 2**20  # what a large blob is sent in; S3 takes no less than 5 MiB

    def __init__(self, store: ObjectStore, where: str) -> None:
        self._store = store
        self.where = where

    async def put(self, blob: str, data: bytes) -> None:
        """Write it whole. StorageFull; Unavailable."""
        with self._failures():
            await obstore.put_async(self._store, blob, data, use_multipart=False)
        await self._make_durable(blob)

    def writer(self, blob: str) -> BlobWriter:
        """Write it piece by piece: it is there when `close` has returned."""
        return BlobWriter(self, obstore.open_writer_async(self._store, blob, buffer_size=self.part_bytes), blob)

    async def get(self, blob: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`, at once: for short runs."""
        with self._failures():
            return bytes(await obstore.get_range_async(self._store, blob, start=start, length=length))

    async def stream(self, blob: str, start: int, length: int, chunk_bytes: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        """`length` bytes from `start`, in pieces of about `chunk_bytes`."""
        with self._failures():
            result = await obstore.get_async(self._store, blob, options={"range": (start, start + length)})
            async for piece in result.stream(min_chunk_size=chunk_bytes):
                yield bytes(piece)

    async def delete(self, blob: str) -> None:
        """Remove it; what does not exist is no error."""
        with self._failures():
            try:
                await obstore.delete_async(self._store, blob)
            except FileNotFoundError:
                return

    async def list(self, generation: str) -> list[str]:
        """The blobs whose names begin with `generation/`."""
        with self._failures():
            return [entry["path"] async for batch in obstore.list(self._store, f"{generation}/") for entry in batch]

    async def prepare(self, generation: str) -> None:
        """Blobs of `generation` will be written."""

    async def retire(self, generation: str) -> None:
        """No blob of `generation` will be written any more; remove what half-written ones left behind."""

    async def _make_durable(self, blob: str) -> None:
        """S3 answers when it is durable."""

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            if any(sign in str(error) for sign in _FULL):
                raise StorageFull(self.where) from error
            if isinstance(error, FileNotFoundError):
                raise
            raise Unavailable(f"The object storage at {self.where} failed: {error}") from error


class FolderBlobs(Blobs):
    """Blobs as files. A blob is on the disk, not in the kernel's cache, when `put` or `close` returns."""

    part_bytes = 2**20

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(LocalStore(folder), str(folder))
        self._folder = folder

    async def stream(self, blob: str, start: int, length: int, chunk_bytes: int = CHUNK_BYTES) -> AsyncIterator[bytes]:
        """In reads of `chunk_bytes`: obstore streams a file 8 KiB at a time, at a tenth of the speed."""
        stop = start + length
        for at in range(start, stop, chunk_bytes):
            yield await self.get(blob, at, min(chunk_bytes, stop - at))

    async def prepare(self, generation: str) -> None:
        """Make the folder, and make its name durable."""
        await asyncio.to_thread(self._make_folder, generation)

    async def retire(self, generation: str) -> None:
        """obstore writes `NAME#1` and renames it to NAME; a kill leaves the former, which its listings leave out."""
        await asyncio.to_thread(self._remove_staged, generation)

    async def _make_durable(self, blob: str) -> None:
        await asyncio.to_thread(self._sync, self._folder / blob)

    def _make_folder(self, generation: str) -> None:
        with self._failures():
            (self._folder / generation).mkdir(exist_ok=True)
            sync_folder(self._folder)

    def _remove_staged(self, generation: str) -> None:
        folder = self._folder / generation
        if not folder.is_dir():
            return
        for path in folder.iterdir():
            if "#" in path.name:
                path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            shutil.rmtree(folder)

    def _sync(self, path: Path) -> None:
        with self._failures():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(path.parent)


class BlobWriter:
    """A blob under way."""

    def __init__(self, blobs: Blobs, writer: obstore.AsyncWritableFile, blob: str) -> None:
        self._blobs = blobs
        self._writer = writer
        self._blob = blob

    async def write(self, data: bytes) -> None:
        """Add bytes. StorageFull; Unavailable."""
        with self._blobs._failures():
            await self._writer.write(data)

    async def close(self) -> None:
        """Make the blob appear, durably. A writer that is dropped instead leaves nothing that can be read."""
        with self._blobs._failures():
            await self._writer.close()
        await self._blobs._make_durable(self._blob)


def open_blobs(folder: Path, url: str = "") -> Blobs:
    """Blobs in `folder`, or where `url` says: `s3://bucket/prefix` (credentials and endpoint from the environment, as
    for any AWS program), `memory://`. Raises Invalid when the URL names no such place.
    """
    if not url:
        return FolderBlobs(folder)
    if url == "memory://":
        return Blobs(MemoryStore(), "memory")
    try:
        return Blobs(from_url(url), url)
    except (BaseError, ValueError) as error:
        raise Invalid(f"{url!r} cannot hold objects: {error}. Give s3://BUCKET/PREFIX, or leave it out.") from error
