"""kill -9 at any moment; a full disk; blobs that somebody else removed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trimtab.clock import ManualClock
from trimtab.errors import Broken, Invalid, NotFound, Unavailable
from trimtab.objects.blobs import FolderBlobs, open_blobs
from trimtab.objects.indexed import INLINE_BYTES, IndexedObjectStore, open_object_store
from trimtab.objects.model import StorageFull

WRITER = """
    import asyncio, hashlib, random, sys
    from pathlib import Path
    from trimtab.clock import SystemClock
    from trimtab.objects.indexed import open_object_store

    async def body(data):
        for at in range(0, len(data), 300_000):
            yield data[at : at + 300_000]

    async def main():
        store = open_object_store(Path(sys.argv[1]), SystemClock())
        await store.start()
        rng = random.Random(int(sys.argv[2]))
        if not await store.list_buckets():
            await store.create_bucket("bucket", region="us-east-1")

        async def writer(lane):
            for n in range(10**6):
                data = rng.randbytes(rng.choice([0, 10, 50_000, 1_500_000]))
                key = f"{sys.argv[2]}/{lane}/{n % 7}"
                await store.put("bucket", key, body(data))
                print(key, hashlib.sha256(data).hexdigest(), flush=True)
                if rng.random() < 0.2:
                    await store.delete("bucket", key)
                    print(key, "deleted", flush=True)

        await asyncio.gather(*(writer(lane) for lane in range(3)))

    asyncio.run(main())
"""


def _run_until_killed(folder: Path, seed: int, lines: int) -> list[list[str]]:
    """Start a writer, read what it acknowledges, and kill it in the middle of what comes next."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), str(seed)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = [process.stdout.readline().split() for _ in range(lines)]
    os.kill(process.pid, signal.SIGKILL)
    said += [line.split() for line in process.stdout.read().splitlines()]
    process.wait()
    process.stdout.close()
    return [line for line in said if len(line) == 2]


async def test_what_was_acknowledged_survives_kill_9_and_half_writes_leave_nothing(tmp_path: Path) -> None:
    import hashlib

    acknowledged: dict[str, str] = {}
    for seed, lines in enumerate((3, 25, 40)):
        for key, outcome in _run_until_killed(tmp_path, seed, lines):
            acknowledged[key] = outcome
    store = open_object_store(tmp_path, ManualClock())
    await store.start()
    await store.settle()
    listed = {o.key for o in (await store.list_objects("bucket")).objects}
    unsure = 0
    for key, outcome in acknowledged.items():
        if outcome == "deleted":
            unsure += key in listed  # overwritten again, by a write whose answer was never read
            continue
        if key not in listed:
            unsure += 1  # likewise: deleted
            continue
        data = await (await store.open("bucket", key)).read()
        unsure += hashlib.sha256(data).hexdigest() != outcome  # likewise: overwritten
    assert unsure <= 9  # one under way in each lane of each run
    blobs = [p for p in (tmp_path / "blobs").rglob("*") if p.is_file()]
    sizes = [o.size_bytes for o in (await store.list_objects("bucket")).objects]
    assert sorted(p.stat().st_size for p in blobs) == sorted(size for size in sizes if size > INLINE_BYTES)
    await store.close()


async def test_half_written_blobs_of_a_killed_process_are_swept(tmp_path: Path, clock: ManualClock) -> None:
    store = open_object_store(tmp_path, clock)
    await store.start()
    await store.create_bucket("bucket", region="us-east-1")
    await store.put("bucket", "kept", b"kept" * 10_000)
    generation = next(p for p in (tmp_path / "blobs").iterdir())
    (generation / "orphan").write_bytes(b"written, but the index never heard of it")
    (generation / "staged#1").write_bytes(b"half")
    again = open_object_store(tmp_path, clock)  # the first was killed, as it were
    await again.start()
    await again.settle()
    assert len(list(generation.iterdir())) == 1
    assert await (await again.open("bucket", "kept")).read() == b"kept" * 10_000
    await again.close()
    await store.close()


async def test_a_clean_end_leaves_nothing_to_look_through(tmp_path: Path, clock: ManualClock) -> None:
    store = open_object_store(tmp_path, clock)
    await store.start()
    await store.create_bucket("bucket", region="us-east-1")
    for n in range(5):
        await store.put("bucket", f"k{n}", bytes(20_000))
    await store.close()
    with sqlite3.connect(tmp_path / "index.db") as database:
        assert database.execute("SELECT count(*) FROM generations").fetchone() == (0,)
    database.close()


async def test_garbage_of_a_killed_process_is_removed(tmp_path: Path, clock: ManualClock) -> None:
    store = open_object_store(tmp_path, clock)
    await store.start()
    await store.create_bucket("bucket", region="us-east-1")
    await store.put("bucket", "k", bytes(20_000))
    store._index.remove("bucket", "k", "", _always(), 0.0)  # the index forgot it; the process died before the blob went
    again = open_object_store(tmp_path, clock)
    await again.start()
    await again.settle()
    assert [p for p in (tmp_path / "blobs").rglob("*") if p.is_file()] == []
    await again.close()
    await store.close()


def _always():  # type: ignore[no-untyped-def]
    from trimtab.objects.model import ALWAYS

    return ALWAYS


async def test_a_blob_that_somebody_removed_is_a_clear_failure(store: IndexedObjectStore, tmp_path: Path) -> None:
    await store.create_bucket("bucket", region="us-east-1")
    for key, size in (("small", 20_000), ("large", 3 * 2**20)):
        await store.put("bucket", key, bytes(size))
        for path in (tmp_path / "objects" / "blobs").rglob("*"):
            if path.is_file():
                path.unlink()
        reader = await store.open("bucket", key)
        with pytest.raises(Broken, match="are not at"):
            async for _ in reader.stream():
                pass


async def test_a_cancelled_put_leaves_nothing(store: IndexedObjectStore, tmp_path: Path) -> None:
    await store.create_bucket("bucket", region="us-east-1")
    arrived = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(3 * 2**20)
        arrived.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put("bucket", "k", slow()))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.settle()
    with pytest.raises(NotFound):
        await store.head("bucket", "k")
    assert [p for p in (tmp_path / "objects" / "blobs").rglob("*") if p.is_file()] == []


async def test_storage_that_fails_is_unavailable(tmp_path: Path, clock: ManualClock) -> None:
    store = open_object_store(tmp_path, clock)
    await store.start()
    await store.create_bucket("bucket", region="us-east-1")
    await store.put("bucket", "k", b"x")
    shutil.rmtree(tmp_path / "blobs")
    (tmp_path / "blobs").write_bytes(b"a file where the folder was")
    with pytest.raises(Unavailable, match="failed"):
        await store.put("bucket", "k", bytes(20_000))
    assert (await store.head("bucket", "k")).size_bytes == 1
    await store.close()


FULL = """
    import asyncio, os, sys
    from pathlib import Path
    from trimtab.clock import SystemClock
    from trimtab.objects.indexed import open_object_store
    from trimtab.objects.model import StorageFull

    async def main():
        store = open_object_store(Path(sys.argv[1]), SystemClock())
        await store.start()
        await store.create_bucket("bucket", region="us-east-1")
        await store.put("bucket", "first", os.urandom(2**20))
        refused = 0
        for n in range(12):
            for size in (3 * 2**20, 2**20 - 1, 100_000):
                try:
                    await store.put("bucket", f"{n}-{size}", os.urandom(size))
                except StorageFull as full:
                    assert "is full" in str(full), full
                    refused += 1
        assert refused > 10, refused
        await store.settle()
        for info in (await store.list_objects("bucket")).objects:
            assert len(await (await store.open("bucket", info.key)).read()) == info.size_bytes
        for info in (await store.list_objects("bucket")).objects:
            await store.delete("bucket", info.key)
        await store.settle()
        await store.put("bucket", "again", os.urandom(3 * 2**20))
        await store.close()
        print("fine")

    asyncio.run(main())
"""


def test_a_full_disk_is_said_and_nothing_half_done_is_left(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=8m tmpfs {tmp_path} && exec {sys.executable} -c "$CODE" {tmp_path}/objects'
    sandbox = ["unshare", "--user", "--map-root-user", "--mount"]
    try:
        subprocess.run([*sandbox, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not let tests mount a small disk of their own")
    done = subprocess.run(
        [*sandbox, "sh", "-c", mount],
        env=os.environ | {"CODE": textwrap.dedent(FULL)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


async def test_a_full_disk_while_a_small_object_is_written(
    store: IndexedObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create_bucket("bucket", region="us-east-1")

    def full(_self: FolderBlobs, _path: Path) -> None:
        raise StorageFull("here")

    monkeypatch.setattr(FolderBlobs, "_sync", full)
    with pytest.raises(StorageFull, match="Free space"):
        await store.put("bucket", "k", bytes(20_000))
    with pytest.raises(NotFound):
        await store.head("bucket", "k")


def test_an_index_of_another_version_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    with sqlite3.connect(tmp_path / "index.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(Invalid, match="format 99"):
        open_object_store(tmp_path, clock)


def test_a_place_that_cannot_hold_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot hold objects"):
        open_blobs(tmp_path, "ftp://somewhere")
