"""Random operations on the store and on a dict that is assumed to be perfect; and a restart whenever it likes."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trimtab.clock import ManualClock
from trimtab.errors import NotFound
from trimtab.objects.blobs import FolderBlobs
from trimtab.objects.index import Index
from trimtab.objects.indexed import IndexedObjectStore
from trimtab.objects.model import Attributes, Condition, Hidden, PreconditionFailed, Versioning
from trimtab.objects.uploads import AskedPart, Completion

KEYS = st.sampled_from(["a", "a/", "a/b", "a/b/c", "b", "é", "a.b"])
DATA = st.binary(max_size=40)
BUCKET = "bucket"


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.versioning = Versioning.NEVER
        # key -> versions, the oldest first: (version id, bytes; None: a delete marker)
        self.versions: dict[str, list[tuple[str, bytes | None]]] = {}
        self.uploads: list[tuple[str, str, dict[int, bytes]]] = []
        self.store = self._open()

    def _open(self) -> IndexedObjectStore:
        path = Path(self.folder.name)
        store = IndexedObjectStore(
            Index(path / "index.db"),
            FolderBlobs(path / "blobs"),
            self.clock,
            min_part_bytes=1,
            generation_blobs=5,
            inline_bytes=5,
        )
        self.runner.run(store.start())
        return store

    def run(self, coroutine):  # type: ignore[no-untyped-def]
        return self.runner.run(coroutine)

    @initialize()
    def make_bucket(self) -> None:
        self.run(self.store.create_bucket(BUCKET, region="us-east-1"))

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()

    def _latest(self, key: str) -> bytes | None:
        versions = self.versions.get(key)
        return versions[-1][1] if versions else None

    def _add(self, key: str, version_id: str, data: bytes | None) -> None:
        versions = self.versions.setdefault(key, [])
        if version_id == "null":
            versions[:] = [v for v in versions if v[0] != "null"]
        versions.append((version_id, data))

    @rule(key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        info = self.run(self.store.put(BUCKET, key, data))
        assert (info.version_id == "null") == (self.versioning is not Versioning.ENABLED)
        self._add(key, info.version_id, data)

    @rule(key=KEYS, data=DATA, good=st.booleans())
    def put_conditionally(self, key: str, data: bytes, good: bool) -> None:
        there = self._latest(key)
        if there is None:
            condition, fine = Condition(absent=True), True
        else:
            etag = self.run(self.store.head(BUCKET, key)).etag if good else "0" * 32
            condition, fine = Condition(etag=etag), good
        if fine:
            info = self.run(self.store.put(BUCKET, key, data, condition=condition))
            self._add(key, info.version_id, data)
        else:
            with pytest.raises(PreconditionFailed):
                self.run(self.store.put(BUCKET, key, data, condition=condition))

    @rule(source=KEYS, into=KEYS)
    def copy(self, source: str, into: str) -> None:
        data = self._latest(source)
        if data is None:
            with pytest.raises((NotFound, Hidden)):
                self.run(self.store.open(BUCKET, source))
            return

        async def go() -> str:
            reader = await self.store.open(BUCKET, source)
            return (await self.store.copy(reader, BUCKET, into, attributes=Attributes())).version_id

        self._add(into, self.run(go()), data)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        removal = self.run(self.store.delete(BUCKET, key))
        if self.versioning is Versioning.NEVER:
            self.versions.pop(key, None)
        else:
            self._add(key, removal.version_id, None)

    @rule(key=KEYS, which=st.integers(0, 5))
    def delete_version(self, key: str, which: int) -> None:
        versions = self.versions.get(key)
        if versions:
            version_id, _ = versions.pop(which % len(versions))
            self.run(self.store.delete(BUCKET, key, version_id))

    @rule(versioning=st.sampled_from([Versioning.ENABLED, Versioning.SUSPENDED]))
    def set_versioning(self, versioning: Versioning) -> None:
        self.versioning = versioning
        self.run(self.store.change_bucket(BUCKET, versioning=versioning))

    @rule(key=KEYS)
    def begin_upload(self, key: str) -> None:
        upload = self.run(self.store.create_upload(BUCKET, key))
        self.uploads.append((upload.id, key, {}))

    @precondition(lambda self: self.uploads)
    @rule(which=st.integers(0, 9), number=st.integers(1, 4), data=st.binary(min_size=1, max_size=9))
    def put_part(self, which: int, number: int, data: bytes) -> None:
        upload_id, key, parts = self.uploads[which % len(self.uploads)]
        upload = self.run(self.store.get_upload(BUCKET, key, upload_id))
        self.run(self.store.put_part(upload, number, data))
        parts[number] = data

    @precondition(lambda self: any(parts for _, _, parts in self.uploads))
    @rule(drop_last=st.booleans())
    def complete(self, drop_last: bool) -> None:
        at = next(n for n, (_, _, parts) in enumerate(self.uploads) if parts)
        upload_id, key, parts = self.uploads.pop(at)
        numbers = sorted(parts)[: -1 if drop_last and len(parts) > 1 else None]
        etags = {n: hashlib.md5(parts[n], usedforsecurity=False).hexdigest() for n in numbers}
        asked = Completion(parts=tuple(AskedPart(number=n, etag=etags[n]) for n in numbers))
        info = self.run(self.store.complete_upload(BUCKET, key, upload_id, asked))
        self._add(key, info.version_id, b"".join(parts[n] for n in numbers))

    @precondition(lambda self: self.uploads)
    @rule()
    def abort(self) -> None:
        upload_id, key, _ = self.uploads.pop()
        self.run(self.store.abort_upload(BUCKET, key, upload_id))

    @rule()
    def restart(self) -> None:
        self.run(self.store.close())
        self.store = self._open()

    @invariant()
    def objects_are_those_of_the_model(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        if not await self.store.list_buckets():
            return
        page = await self.store.list_objects(BUCKET)
        there = {key: data for key in self.versions if (data := self._latest(key)) is not None}
        assert [o.key for o in page.objects] == sorted(there, key=str.encode)
        for key, data in there.items():
            assert await (await self.store.open(BUCKET, key)).read() == data
        listed = await self.store.list_versions(BUCKET)
        expected = [
            (key, version, data is None, n == 0)
            for key in sorted(self.versions, key=str.encode)
            for n, (version, data) in enumerate(reversed(self.versions[key]))
        ]
        assert [(o.key, o.version_id, o.is_delete_marker, o.is_latest) for o in listed.objects] == expected
        rolled = await self.store.list_objects(BUCKET, prefix="a", delimiter="/")
        below = [key for key in there if key.startswith("a")]
        assert sorted(rolled.prefixes) == sorted({k[: k.index("/", 1) + 1] for k in below if "/" in k[1:]})
        assert [u.id for u in (await self.store.list_uploads(BUCKET)).uploads] == [
            u for u, _, _ in sorted(self.uploads, key=lambda upload: upload[1].encode())
        ]

    @invariant()
    def nothing_is_kept_that_nobody_needs(self) -> None:
        self.run(self.store.settle())
        blobs = [p for p in (Path(self.folder.name) / "blobs").rglob("*") if p.is_file()]
        every = itertools.chain.from_iterable(self.versions.values())
        needed = [data for _, data in every if data] + [d for _, _, parts in self.uploads for d in parts.values()]
        assert len(blobs) <= len(needed) + 4 * len(self.uploads) + sum(len(v) for v in self.versions.values()) * 4
        if not needed:
            assert blobs == []


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
