"""Artifacts on the local disk."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trimtab.clock import ManualClock
from trimtab.errors import NoCapacity, NotFound
from trimtab.objects import artifact_folder
from trimtab.objects.artifact_folder import ArtifactFolder
from trimtab.objects.artifacts import ArtifactCache, ArtifactInvalid, ArtifactLate, ArtifactMissing, LocalArtifact
from trimtab.objects.indexed import IndexedObjectStore
from trimtab.objects.model import Versioning
from trimtab.objects.reading import BlobReader
from trimtab.objects.unpack import remove
from trimtab.testing.waiting import until

URL = "s3://models/fraud/model.tar.gz"
MIB = 2**20


def packed(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class CountingStore:
    """Counts what is opened, and can hold it back."""

    def __init__(self, store: IndexedObjectStore) -> None:
        self._store = store
        self.opened = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def open(self, bucket: str, key: str, version_id: str = "") -> BlobReader:
        self.opened += 1
        self.reached.set()
        await self.gate.wait()
        return await self._store.open(bucket, key, version_id)


@pytest.fixture
async def counting(store: IndexedObjectStore) -> CountingStore:
    await store.create_bucket("models", region="us-east-1")
    return CountingStore(store)


def make_cache(
    store: CountingStore, folder: Path, clock: ManualClock, *, unpacked: int = 2**30, total: int = 2**30
) -> ArtifactCache:
    return ArtifactCache(store, folder, clock, max_unpacked_bytes=unpacked, max_cache_bytes=total)  # type: ignore[arg-type]


@pytest.fixture
async def cache(counting: CountingStore, tmp_path: Path, clock: ManualClock) -> AsyncIterator[ArtifactCache]:
    cache = make_cache(counting, tmp_path / "cache", clock)
    await cache.start()
    yield cache
    await cache.close()


async def put(store: CountingStore, key: str = "fraud/model.tar.gz", **files: bytes) -> None:
    await store._store.put("models", key, packed(**files))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


async def test_an_archive_is_fetched_unpacked_and_found_again(counting: CountingStore, cache: ArtifactCache) -> None:
    await put(counting, model=b"weights")
    first = await cache.fetch(URL, timeout_s=60)
    assert (first.path / "model").read_bytes() == b"weights"
    assert (first.fetched, first.size_bytes) == (True, 7)
    again = await cache.fetch(URL, timeout_s=60)
    assert (again.path, again.fetched, counting.opened) == (first.path, False, 1)


async def test_an_artifact_that_is_there_is_found_in_well_under_a_millisecond(
    counting: CountingStore, cache: ArtifactCache
) -> None:
    await put(counting, model=b"weights")
    await cache.fetch(URL)
    took: list[float] = []
    for _ in range(50):
        began = time.perf_counter()
        await cache.fetch(URL)
        took.append(time.perf_counter() - began)
    assert sorted(took)[25] < 1e-3


async def test_however_many_wait_it_is_fetched_once(counting: CountingStore, cache: ArtifactCache) -> None:
    await put(counting, model=os.urandom(2 * MIB))
    found = await asyncio.gather(*(cache.fetch(URL, timeout_s=60) for _ in range(20)))
    assert counting.opened == 1
    assert {a.path for a in found} == {found[0].path}


async def test_the_same_content_under_another_name_is_not_fetched_again(
    counting: CountingStore, cache: ArtifactCache
) -> None:
    data = packed(model=b"weights")
    for key in ("a.tar.gz", "b.tar.gz"):
        await counting._store.put("models", key, data)
    one, two = await cache.fetch("s3://models/a.tar.gz"), await cache.fetch("s3://models/b.tar.gz")
    assert (one.path, two.fetched) == (two.path, False)


async def test_new_content_under_the_same_name_is_fetched(counting: CountingStore, cache: ArtifactCache) -> None:
    await put(counting, model=b"old")
    old = await cache.fetch(URL)
    await put(counting, model=b"new")
    new = await cache.fetch(URL)
    assert (old.path / "model").read_bytes() == b"old"
    assert (new.path / "model").read_bytes() == b"new"


async def test_a_prefix_of_plain_files_becomes_a_folder(counting: CountingStore, cache: ArtifactCache) -> None:
    for key, data in {"llm/config.json": b"{}", "llm/code/inference.py": b"x", "llm/": b"", "llm2/no": b""}.items():
        await counting._store.put("models", key, data)
    for url in ("s3://models/llm/", "s3://models/llm"):
        found = await cache.fetch(url, compressed=False)
        files = {str(p.relative_to(found.path)): p.read_bytes() for p in found.path.rglob("*") if p.is_file()}
        assert files == {"config.json": b"{}", "code/inference.py": b"x"}
    assert counting.opened == 2


async def test_one_plain_object_becomes_one_file(counting: CountingStore, cache: ArtifactCache) -> None:
    await counting._store.put("models", "a/model.onnx", b"onnx")
    found = await cache.fetch("s3://models/a/model.onnx", compressed=False)
    assert (found.path / "model.onnx").read_bytes() == b"onnx"


async def test_a_plain_object_that_would_be_outside_is_refused(counting: CountingStore, cache: ArtifactCache) -> None:
    await counting._store.put("models", "llm/../../evil", b"x")
    with pytest.raises(ArtifactInvalid, match="evil"):
        await cache.fetch("s3://models/llm/", compressed=False)


async def test_what_is_missing_says_what_to_do(counting: CountingStore, cache: ArtifactCache) -> None:
    for url, compressed, message in (
        (URL, True, "Upload the model there"),
        ("s3://nowhere/model.tar.gz", True, "no bucket 'nowhere'.*AWS's own S3 are not read"),
        ("s3://nowhere/llm/", False, "no bucket 'nowhere'"),
        ("s3://models/llm/", False, "none below it"),
        ("s3://models/llm", False, "none below it"),
    ):
        with pytest.raises(ArtifactMissing, match=message) as caught:
            await cache.fetch(url, compressed=compressed)
        assert isinstance(caught.value, NotFound)
        assert caught.value.reason == "ArtifactMissing"
    for url in ("https://models/model.tar.gz", "model.tar.gz", "s3://", "s3://Bad_Name/x"):
        with pytest.raises(ArtifactInvalid):
            await cache.fetch(url)


async def test_a_deleted_object_of_a_versioned_bucket_is_missing(counting: CountingStore, cache: ArtifactCache) -> None:
    await counting._store.change_bucket("models", versioning=Versioning.ENABLED)
    await put(counting, model=b"x")
    await counting._store.delete("models", "fraud/model.tar.gz")
    with pytest.raises(ArtifactMissing):
        await cache.fetch(URL)


async def test_a_bad_archive_leaves_nothing_behind(
    counting: CountingStore, cache: ArtifactCache, tmp_path: Path
) -> None:
    await counting._store.put("models", "fraud/model.tar.gz", packed(model=os.urandom(3 * MIB))[: 2 * MIB])
    for _ in range(2):  # the failure is not remembered
        with pytest.raises(ArtifactInvalid, match="cut off"):
            await cache.fetch(URL)
    assert names(tmp_path / "cache") == []
    assert cache.used_bytes == 0


async def test_a_bomb_ends_at_the_limit_and_leaves_nothing_behind(
    counting: CountingStore, tmp_path: Path, clock: ManualClock
) -> None:
    await put(counting, model=bytes(64 * MIB))
    cache = make_cache(counting, tmp_path / "cache", clock, unpacked=8 * MIB)
    await cache.start()
    with pytest.raises(ArtifactInvalid, match="--max-artifact-mib"):
        await cache.fetch(URL)
    assert (names(tmp_path / "cache"), cache.used_bytes) == ([], 0)


async def test_the_least_recently_used_goes_first_and_what_is_in_use_stays(
    counting: CountingStore, tmp_path: Path, clock: ManualClock
) -> None:
    cache = make_cache(counting, tmp_path / "cache", clock, total=11 * MIB)
    await cache.start()
    found: dict[str, LocalArtifact] = {}
    for n in "abc":
        await put(counting, f"{n}.tar.gz", model=n.encode() * 3 * MIB)
        found[n] = await cache.fetch(f"s3://models/{n}.tar.gz")
    for n in "bca":
        cache.release(found[n])
    await put(counting, "d.tar.gz", model=b"d" * 3 * MIB)
    cache.release(await cache.fetch("s3://models/a.tar.gz"))
    await cache.close()
    await cache.fetch("s3://models/d.tar.gz")
    assert [n for n in "abc" if found[n].path.exists()] == ["a", "c"]
    assert cache.used_bytes <= 11 * MIB


async def test_when_all_is_in_use_the_cache_says_so(
    counting: CountingStore, tmp_path: Path, clock: ManualClock
) -> None:
    cache = make_cache(counting, tmp_path / "cache", clock, total=5 * MIB)
    await cache.start()
    await put(counting, "a.tar.gz", model=b"a" * 3 * MIB)
    await put(counting, "b.tar.gz", model=b"b" * 3 * MIB)
    held = await cache.fetch("s3://models/a.tar.gz")
    with pytest.raises(NoCapacity, match="--artifact-cache-mib"):
        await cache.fetch("s3://models/b.tar.gz")
    assert held.path.exists()
    await cache.close()
    cache.release(held)
    await cache.fetch("s3://models/b.tar.gz")
    assert not held.path.exists()


async def test_a_new_process_finds_adopts_and_tidies(
    counting: CountingStore, tmp_path: Path, clock: ManualClock
) -> None:
    folder = tmp_path / "cache"
    first = make_cache(counting, folder, clock)
    await first.start()
    await put(counting, model=b"weights")
    there = await first.fetch(URL)
    await first.close()
    (folder / "tmp-half" / "model").mkdir(parents=True)
    (folder / "tmp-half" / "model" / "x").write_bytes(b"x")
    (folder / "not-ours").mkdir()
    second = make_cache(counting, folder, clock)
    await second.start()
    assert names(folder) == [there.digest]
    adopted = second.adopt(there.path)
    assert adopted is not None
    assert adopted.path == there.path
    assert second.adopt(folder / "gone" / "model") is None
    assert not (await second.fetch(URL)).fetched


@pytest.mark.parametrize("durable", [True, False])
async def test_after_a_power_cut_only_what_reached_the_disk_is_trusted(
    counting: CountingStore, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    folder = tmp_path / "cache"
    first = make_cache(counting, folder, clock)
    await first.start()
    await put(counting, model=b"weights")
    there = await first.fetch(URL)
    await first.close()  # waits until it is on the disk
    if not durable:
        (folder / there.digest / "durable").unlink()
    monkeypatch.setattr(artifact_folder, "boot_id", lambda: "another boot")
    second = make_cache(counting, folder, clock)
    await second.start()
    assert (await second.fetch(URL)).fetched is not durable


async def test_a_fetch_that_takes_too_long_is_given_up_and_can_be_tried_again(
    counting: CountingStore, cache: ArtifactCache, tmp_path: Path
) -> None:
    await put(counting, model=b"weights")
    counting.gate.clear()
    with pytest.raises(ArtifactLate, match="ModelDataDownloadTimeoutInSeconds"):
        await cache.fetch(URL, timeout_s=0.05)
    counting.gate.set()
    found = await cache.fetch(URL, timeout_s=60)
    assert found.fetched
    async with asyncio.timeout(10):
        while names(tmp_path / "cache") != [found.digest]:  # the one that was given up clears its own away
            await asyncio.sleep(0.01)


async def test_one_who_gives_up_does_not_end_the_fetch_of_others(counting: CountingStore, cache: ArtifactCache) -> None:
    await put(counting, model=b"weights")
    counting.gate.clear()
    impatient = asyncio.create_task(cache.fetch(URL, timeout_s=60))
    patient = asyncio.create_task(cache.fetch(URL, timeout_s=60))
    await counting.reached.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    counting.gate.set()
    assert (await patient).fetched
    assert counting.opened == 1


async def test_a_large_artifact_streams_and_arrives_whole(counting: CountingStore, cache: ArtifactCache) -> None:
    data = os.urandom(24 * MIB)
    await put(counting, model=data)
    found = await cache.fetch(URL)
    assert (found.path / "model").read_bytes() == data


def test_what_is_evicted_while_it_is_written_to_the_disk_gets_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removes its folder would find it not empty."""
    folder = ArtifactFolder(tmp_path, max_bytes=1000, now_s=lambda: 0.0)
    folder.charge(600)
    entry = folder.add(folder.begin(), folder.new_entry("a", "s3://models/a", 600, 600))
    folder.release(entry.digest)
    removed: list[Path] = []
    monkeypatch.setattr(artifact_folder, "remove", removed.append)  # as slow as can be
    monkeypatch.setattr(artifact_folder, "_sync_file", lambda name, descriptor: removed or folder.charge(600))
    folder.make_durable("a")
    [moved] = removed
    assert names(moved) == ["artifact.json", "model"]


async def somebody_removes(folder: Path, there: LocalArtifact) -> None:
    """Once all of it is on the disk: until then a file may come while the folder is being emptied."""
    await until((folder / there.digest / "durable").exists)
    remove(folder)


async def test_files_that_somebody_else_removed_are_brought_anew(
    cache: ArtifactCache, counting: CountingStore, tmp_path: Path
) -> None:
    await put(counting, weights=b"1")
    first = await cache.fetch(URL)
    await somebody_removes(tmp_path / "cache", first)
    again = await cache.fetch(URL)
    assert (again.path / "weights").read_bytes() == b"1"
    assert (again.path, again.fetched, counting.opened) == (first.path, True, 2)


async def test_room_is_found_although_somebody_else_removed_what_was_to_go(
    counting: CountingStore, tmp_path: Path, clock: ManualClock
) -> None:
    cache = make_cache(counting, tmp_path / "cache", clock, total=5 * MIB)
    await cache.start()
    for key in ("a", "b"):
        await put(counting, f"{key}/m.tar.gz", weights=os.urandom(3 * MIB))
    there = await cache.fetch("s3://models/a/m.tar.gz")
    cache.release(there)
    await somebody_removes(tmp_path / "cache", there)
    await cache.fetch("s3://models/b/m.tar.gz")
    assert 3 * MIB <= cache.used_bytes <= 5 * MIB
    await cache.close()
