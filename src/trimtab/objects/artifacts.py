"""Models' artifacts: from `s3://bucket/key` to a folder that a worker reads; once per content, however many wait."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import msgspec

from trimtab.clock import Clock
from trimtab.errors import Invalid, NotFound, Unavailable
from trimtab.objects.artifact_folder import MODEL, ArtifactFolder, Entry
from trimtab.objects.bridge import Bridge, StreamFile
from trimtab.objects.model import Hidden, ObjectInfo
from trimtab.objects.names import parse_url
from trimtab.objects.receive import to_the_end
from trimtab.objects.store import ObjectReader, ObjectStore
from trimtab.objects.unpack import ArtifactInvalid, copy, remove, seal, unpack, writing

__all__ = ["ArtifactCache", "ArtifactInvalid", "ArtifactLate", "ArtifactMissing", "LocalArtifact"]

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 4 * 2**20
_CHARGE_STEP_BYTES = 2**20  # room is taken in steps of this
_FETCHES_AT_ONCE = 8  # on threads of their own: hundreds of models that are wanted at once must not hold up all others


class ArtifactMissing(NotFound):
    """There is nothing where the artifact should be."""

    reason = "ArtifactMissing"

    def __init__(self, url: str, message: str) -> None:
        super().__init__("artifact", url, message)


class ArtifactLate(Unavailable):
    """The artifact was not on the local disk in time."""

    reason = "StartTimeout"


class LocalArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact on the local disk. `path` is read-only and stays until `ArtifactCache.release`."""

    path: Path
    digest: str
    size_bytes: int
    fetched: bool  # False: it was there


class _Source(msgspec.Struct, frozen=True):
    """What is to be fetched: one archive, or files with their places in the folder."""

    url: str
    digest: str
    compressed: bool
    objects: tuple[tuple[str, ObjectInfo], ...]


class _Flight:
    """A fetch under way, and how many wait for it."""

    def __init__(self, digest: str, task: asyncio.Task[Entry]) -> None:
        self.digest = digest
        self.task = task
        self.waiting = 0


class ArtifactCache:
    """Bounded by `max_cache_bytes`; an artifact larger than `max_unpacked_bytes` is refused while it is unpacked."""

    def __init__(
        self,
        store: ObjectStore,
        folder: Path,
        clock: Clock,
        *,
        max_unpacked_bytes: int,
        max_cache_bytes: int,
    ) -> None:
        self._store = store
        self._folder = ArtifactFolder(folder, max_bytes=max_cache_bytes, now_s=clock.now_s)
        self._max_unpacked_bytes = max_unpacked_bytes
        self._flights: dict[str, _Flight] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(_FETCHES_AT_ONCE, "trimtab-artifacts")

    async def start(self) -> None:
        """Find what is on the disk already."""
        await asyncio.to_thread(self._folder.load)

    async def close(self) -> None:
        """End what is under way."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        if pending := [*tasks, *self._settling]:
            await asyncio.wait(pending)

    @property
    def used_bytes(self) -> int:
        """What the cache holds on the disk."""
        return self._folder.used_bytes

    async def fetch(self, url: str, *, compressed: bool = True, timeout_s: float = 3600.0) -> LocalArtifact:
        """Bring an artifact to the local disk and lease it. `release` it when nobody reads it any more.

        `compressed`: the object at `url` is a tar, gzip'd or plain. Otherwise it is one file, or a prefix of files.
        Raises ArtifactMissing, ArtifactInvalid, ArtifactLate, NoCapacity, Unavailable.
        """
        source = await self._resolve(url, compressed)
        entry = self._folder.lease(source.digest)
        if entry is not None:
            return self._local(entry, fetched=False)
        flight = self._flights.get(source.digest)
        if flight is None:
            flight = _Flight(source.digest, asyncio.create_task(self._fetch(source), name=f"fetch {url}"))
            self._flights[source.digest] = flight
            flight.task.add_done_callback(lambda _: self._land(flight))
        return await self._wait(flight, url, timeout_s)

    async def digest_of(self, url: str, *, compressed: bool = True) -> str:
        """The digest that `fetch` would answer with now. "": nothing is there. Raises as `fetch`."""
        try:
            return (await self._resolve(url, compressed)).digest
        except ArtifactMissing:
            return ""

    def release(self, artifact: LocalArtifact) -> None:
        """Its folder may go when room is needed."""
        self._folder.release(artifact.digest)

    def adopt(self, path: Path) -> LocalArtifact | None:
        """Lease the artifact that a worker of an earlier process reads at `path`; None when it is not of this cache."""
        entry = self._folder.lease(path.parent.name) if path.name == MODEL else None
        return None if entry is None else self._local(entry, fetched=False)

    async def _wait(self, flight: _Flight, url: str, timeout_s: float) -> LocalArtifact:
        flight.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                entry = await asyncio.shield(flight.task)
            leased = self._folder.lease(entry.digest)
            if leased is None:  # the flight's own lease keeps it, from all but others
                raise Unavailable(
                    f"The files of {url} were removed from the artifact cache while they were being fetched."
                )
            return self._local(leased, fetched=True)
        except TimeoutError:
            raise ArtifactLate(
                f"{url} was not fetched and unpacked within {timeout_s:g} s. Raise the variant's "
                "ModelDataDownloadTimeoutInSeconds, or make the artifact smaller."
            ) from None
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                self._leave(flight)

    def _leave(self, flight: _Flight) -> None:
        """Nobody waits any more: end the fetch, or give back its lease."""
        if not flight.task.done():
            self._land(flight)  # who comes next begins anew
            flight.task.cancel()
        elif not flight.task.cancelled() and flight.task.exception() is None:
            self._folder.release(flight.task.result().digest)

    def _land(self, flight: _Flight) -> None:
        if self._flights.get(flight.digest) is flight:
            del self._flights[flight.digest]

    def _local(self, entry: Entry, *, fetched: bool) -> LocalArtifact:
        path = self._folder.path(entry.digest)
        return LocalArtifact(path=path, digest=entry.digest, size_bytes=entry.size_bytes, fetched=fetched)

    # What is it

    async def _resolve(self, url: str, compressed: bool) -> _Source:
        try:
            bucket, key = parse_url(url)
        except Invalid as error:
            raise ArtifactInvalid(f"The model's artifact cannot be fetched: {error}") from error
        try:
            if compressed or (key and not key.endswith("/")):
                info = await self._head(bucket, key)
                if info is not None:
                    place = "" if compressed else PurePosixPath(key).name
                    return _source(url, compressed, [(place, info)])
            if not compressed:
                return _source(url, compressed, await self._below(bucket, key, url))
        except NotFound as error:
            raise ArtifactMissing(url, _missing(url, error)) from error
        raise ArtifactMissing(
            url,
            f"There is no object {url}. Upload the model there with trimtab's S3 (`aws s3 cp model.tar.gz {url}` after "
            '`eval "$(trimtab env)"`). Objects of AWS\'s own S3 are not read: copy them here first.',
        )

    async def _head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            return await self._store.head(bucket, key)
        except Hidden:
            return None
        except NotFound as error:
            if error.kind == "bucket":
                raise
            return None

    async def _below(self, bucket: str, prefix: str, url: str) -> list[tuple[str, ObjectInfo]]:
        prefix = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        found: list[tuple[str, ObjectInfo]] = []
        after = ""
        while True:
            page = await self._store.list_objects(bucket, prefix=prefix, after=after)
            for info in page.objects:
                place = info.key.removeprefix(prefix)
                if place and not place.endswith("/"):  # consoles make such empty objects for folders
                    found.append((_checked(place, url), info))
            if not page.is_truncated:
                break
            after = page.next_after
        if not found:
            raise NotFound("object", url)
        return found

    # Fetch it

    async def _fetch(self, source: _Source) -> Entry:
        bridge = Bridge()
        job = _Job(self._folder, self._store, bridge, source, self._max_unpacked_bytes)
        work = asyncio.get_running_loop().run_in_executor(self._threads, job.run)
        try:
            entry = await asyncio.shield(work)
        except asyncio.CancelledError:
            bridge.cancel()
            await asyncio.wait([work])
            if not work.cancelled() and work.exception() is None:
                self._folder.release(work.result().digest)
            raise
        logger.info("artifact fetched url=%s size_bytes=%d", source.url, entry.size_bytes)
        settling = asyncio.create_task(self._settle(entry.digest))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        return entry

    async def _settle(self, digest: str) -> None:
        try:
            await to_the_end(asyncio.to_thread(self._folder.make_durable, digest))
        except OSError as error:  # it stays usable until the machine goes down
            logger.warning("artifact not written to the disk digest=%s why=%s", digest, error)


class _Job:
    """One fetch, on its thread."""

    def __init__(
        self, folder: ArtifactFolder, store: ObjectStore, bridge: Bridge, source: _Source, max_unpacked_bytes: int
    ) -> None:
        self._folder = folder
        self._store = store
        self._bridge = bridge
        self._source = source
        self._max_unpacked_bytes = max_unpacked_bytes
        self._taken_bytes = 0  # charged here
        self._charged_bytes = 0  # charged to the folder, in steps

    def run(self) -> Entry:
        """The entry, with one lease; or nothing is left of it."""
        with writing(self._source.url, self._folder.path(self._source.digest)):
            temporary = self._folder.begin()
        try:
            with writing(self._source.url, temporary):
                size_bytes = self._files(temporary / MODEL)
                self._folder.uncharge(self._charged_bytes - self._taken_bytes)
                self._charged_bytes = self._taken_bytes
                entry = self._folder.new_entry(self._source.digest, self._source.url, size_bytes, self._charged_bytes)
                return self._folder.add(temporary, entry)
        except BaseException:
            remove(temporary)
            self._folder.uncharge(self._charged_bytes)
            raise

    def _files(self, model: Path) -> int:
        if self._source.compressed:
            stream = self._open(self._source.objects[0][1])
            return unpack(stream, model, name=self._source.url, charge=self._charge)
        size_bytes = 0
        for place, info in self._source.objects:
            target = model / place
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            size_bytes += copy(self._open(info), target, charge=self._charge)
        seal(model)
        return size_bytes

    def _open(self, info: ObjectInfo) -> StreamFile:
        reader: ObjectReader = self._bridge.call(_coroutine(self._store, info))
        if reader.info.etag != info.etag:
            reader.close()
            raise Unavailable(f"{self._source.url} was replaced while it was being fetched. Try again.")
        return StreamFile(reader.stream(chunk_bytes=_CHUNK_BYTES), self._bridge)

    def _charge(self, size_bytes: int) -> None:
        self._taken_bytes += size_bytes
        if self._taken_bytes > self._max_unpacked_bytes:
            raise ArtifactInvalid(
                f"{self._source.url} unpacks to more than {self._max_unpacked_bytes // 2**20} MiB. Make "
                "it smaller, or raise the limit (`trimtab serve --max-artifact-mib`)."
            )
        while self._charged_bytes < self._taken_bytes:
            step = max(_CHARGE_STEP_BYTES, self._taken_bytes - self._charged_bytes)
            self._folder.charge(step)
            self._charged_bytes += step


async def _coroutine(store: ObjectStore, info: ObjectInfo) -> ObjectReader:
    return await store.open(info.bucket, info.key, info.version_id)


def _source(url: str, compressed: bool, objects: list[tuple[str, ObjectInfo]]) -> _Source:
    """ETags and sizes stand for the content, wherever it is kept."""
    digest = hashlib.sha256(b"archive" if compressed else b"files")
    for place, info in objects:
        digest.update(f"\0{place}\0{info.etag}\0{info.size_bytes}".encode())
    return _Source(url, digest.hexdigest(), compressed, tuple(objects))


def _checked(place: str, url: str) -> str:
    parts = place.split("/")
    if place.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in place:
        raise ArtifactInvalid(f"{url} holds the object {place!r}, which cannot be a file below the model's folder.")
    return place


def _missing(url: str, error: NotFound) -> str:
    if error.kind == "bucket":
        return (
            f"There is no bucket {error.name!r} in trimtab's S3, so {url} cannot be fetched. Create it and upload the "
            'model (after `eval "$(trimtab env)"`). Buckets of AWS\'s own S3 are not read: copy the model here first.'
        )
    return f"There is no object {url}, and none below it. Upload the model there with trimtab's S3."
