"""What `app` wires together, short of starting processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab import datadir
from trimtab.aws import keys
from trimtab.aws.http import BytesBody, HttpRequest
from trimtab.aws.operations import differences
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, Handlers, merge
from trimtab.aws.sns import Sns
from trimtab.aws.sqs import Sqs
from trimtab.aws.surface import aws_handlers
from trimtab.clock import SystemClock
from trimtab.config import Config
from trimtab.control.alarm_actions import not_there
from trimtab.control.alarms import Alarms
from trimtab.errors import NoCapacity
from trimtab.objects.artifacts import ArtifactCache
from trimtab.objects.indexed import IndexedObjectStore, open_object_store
from trimtab.objects.leases import Leases
from trimtab.resources.model import Model
from trimtab.store.sqlite import open_sqlite
from trimtab.testing.artifacts import archive
from trimtab.testing.fake_control import FakeControl
from trimtab.testing.fake_scaling import FakeScaling
from trimtab.testing.metrics import MemoryMetricStore

MIB = 2**20


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    config = Config(data_dir=tmp_path / "data")
    lock = datadir.claim(config.paths)
    keys.ensure(config.paths.keys, now_s=1.0)
    yield config
    os.close(lock)


@pytest.fixture
async def objects(config: Config) -> AsyncIterator[IndexedObjectStore]:
    store = open_object_store(config.paths.objects, SystemClock())
    await store.start()
    await store.create_bucket("models", region="us-east-1")
    yield store
    await store.close()


def messaging() -> Handlers:
    nobody: Any = None  # no queue is asked for
    sqs = Sqs(nobody, SystemClock(), Pager(b"secret"))
    sns = Sns(nobody, sqs.book, SystemClock(), Pager(b"secret"), signing_file=Path("none"), base_url=str)
    return merge(sqs.handlers, sns.handlers)


def handlers(config: Config, control: FakeControl, objects: IndexedObjectStore) -> Handlers:
    store = open_sqlite(config.paths.database)
    alarms = Alarms(store.alarms, SystemClock(), not_there)
    store.close()
    scaling = FakeScaling(SystemClock(), ())
    return aws_handlers(config, control, objects, MemoryMetricStore(), alarms, scaling, messaging())


async def ask(handlers: Handlers, service: str, operation: str, **params: Any) -> dict[str, Any]:
    request = HttpRequest(method="POST", raw_path="/", body=BytesBody())
    call = Call(request=request, service=service, operation=operation, request_id="r", region="us-east-1",
                account="000000000000", identity=None)  # fmt: skip
    answer = handlers[service][operation](call, params)
    return await answer if asyncio.iscoroutine(answer) else answer


def test_the_page_of_operations_is_true_of_what_is_served(config: Config, objects: IndexedObjectStore) -> None:
    assert differences(handlers(config, FakeControl(SystemClock()), objects)) == []


async def test_a_listing_goes_on_when_keys_were_added_meanwhile(config: Config, objects: IndexedObjectStore) -> None:
    control = FakeControl(SystemClock())
    for name in ("a", "b"):
        control.create_model(Model(name=name, containers=(), created_s=1.0), {})
    before = handlers(config, control, objects)
    first = await ask(before, "sagemaker", "ListModels", MaxResults=1)
    keys.add(config.paths.keys, name="another", now_s=2.0)
    after = handlers(config, control, objects)  # as after a restart of control
    second = await ask(after, "sagemaker", "ListModels", MaxResults=1, NextToken=first["NextToken"])
    assert {first["Models"][0]["ModelName"], second["Models"][0]["ModelName"]} == {"a", "b"}


async def test_a_bounded_cache_evicts_what_nobody_leases(config: Config, objects: IndexedObjectStore) -> None:
    cache = ArtifactCache(
        objects, config.paths.artifacts, SystemClock(), max_unpacked_bytes=8 * MIB, max_cache_bytes=6 * MIB
    )
    await cache.start()
    leases = Leases(cache)
    for name in ("a", "b", "c"):
        await put(objects, name, archive(model_bin=name.encode() * 2 * MIB))
    a = await leases.fetch("s3://models/a", True, 30)
    b = await leases.fetch("s3://models/b", True, 30)
    with pytest.raises(NoCapacity, match="in use"):
        await leases.fetch("s3://models/c", True, 30)
    b.release()
    c = await leases.fetch("s3://models/c", True, 30)
    assert [lease.path.exists() for lease in (a, b, c)] == [True, False, True]
    await cache.close()


async def test_a_new_control_leases_what_the_workers_of_the_last_one_read(
    config: Config, objects: IndexedObjectStore
) -> None:
    limits = {"max_unpacked_bytes": 8 * MIB, "max_cache_bytes": 4 * MIB}
    await put(objects, "a", archive(model_bin=b"a" * 2 * MIB))
    await put(objects, "b", archive(model_bin=b"b" * 2 * MIB))
    before = ArtifactCache(objects, config.paths.artifacts, SystemClock(), **limits)
    await before.start()
    path = (await Leases(before).fetch("s3://models/a", True, 30)).path
    await before.close()
    after = ArtifactCache(objects, config.paths.artifacts, SystemClock(), **limits)
    await after.start()
    leases = Leases(after)
    lease = leases.adopt(path)
    assert lease is not None
    with pytest.raises(NoCapacity):
        await leases.fetch("s3://models/b", True, 30)
    lease.release()
    await leases.fetch("s3://models/b", True, 30)
    assert not path.exists()
    assert leases.adopt(Path("/somewhere/else")) is None
    await after.close()


async def put(objects: IndexedObjectStore, key: str, data: bytes) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield data

    await objects.put("models", key, pieces())
