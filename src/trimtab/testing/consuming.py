"""A consumer in the process of the test: real queues, a gateway with a fake worker, S3 in memory that fails as told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from trimtab.consumer.consumer import Consumer
from trimtab.consumer.objects import ObjectRefused, ObjectTooLarge, Sent, UploadGone, Writer
from trimtab.consumer.runner import Ended, Runner
from trimtab.gateway.gateway import Gateway
from trimtab.queues.client import QueueClient
from trimtab.queues.model import Declare, Depth, Done, Lease, Leases, Look, Put, QueueSettings
from trimtab.queues.topics import INBOX_PREFIX, publication
from trimtab.resources.asynchronous import AsyncSettings, AsyncTask, QueueMark, queue_of
from trimtab.resources.routing import EndpointRoute, RouteTable, VariantRoute
from trimtab.testing.fake_worker import FakeWorker
from trimtab.testing.queues import KeptQueues, kept_queues

ENDPOINT = "pages"
TOPIC = "arn:aws:sns:us-east-1:000000000000:told"
SETTINGS = AsyncSettings(
    output_path="s3://bucket/out",
    failure_path="s3://bucket/failed",
    success_topic=TOPIC,
    error_topic=TOPIC,
    max_concurrency=4,
)


class Held(Struct):
    """One object."""

    body: bytes
    sent: Sent


class FakeObjects:
    """See `consumer.objects.Objects`. `fault(operation, url)` is asked before each call, for what to raise."""

    def __init__(self) -> None:
        self.objects: dict[str, Held] = {}
        self.uploads: dict[str, Held] = {}
        self.made: list[str] = []  # URLs, each time when an object became visible with other bytes than before
        self.fault: Callable[[str, str], Exception | None] = lambda operation, url: None
        self._lock = threading.Lock()
        self._ids = 0

    def fetch(self, url: str, into: Writer, *, limit_bytes: int) -> int:
        """See Objects."""
        self._ask("fetch", url)
        held = self.objects.get(url)
        if held is None:
            raise ObjectRefused("NoSuchKey: The specified key does not exist.", missing=True)
        if len(held.body) > limit_bytes:
            raise ObjectTooLarge(f"{url} has {len(held.body)} bytes; the most is {limit_bytes}.")
        into.write(held.body)
        return len(held.body)

    def put(self, url: str, body: bytes, sent: Sent) -> None:
        """See Objects."""
        self._ask("put", url)
        self._show(url, Held(body, sent))
        self._ask("put done", url)

    def stage(self, url: str, body: BinaryIO, sent: Sent, *, alone: bool) -> tuple[str, Sequence[str]]:
        """See Objects."""
        self._ask("stage", url)
        with self._lock:
            if not alone:
                self.uploads = {key: held for key, held in self.uploads.items() if not key.startswith(f"{url} ")}
            self._ids += 1
            upload_id = f"{url} {self._ids}"
            self.uploads[upload_id] = Held(body.read(), sent)
        self._ask("stage done", url)
        return upload_id, ("etag",)

    def complete(self, url: str, upload_id: str, etags: Sequence[str], sent: Sent) -> None:
        """See Objects."""
        self._ask("complete", url)
        held = self.uploads.pop(upload_id, None)
        if held is not None:
            self._show(url, held)
        elif url not in self.objects or self.objects[url].sent.metadata != sent.metadata:
            raise UploadGone(url)
        self._ask("complete done", url)

    def abandon(self, url: str, upload_id: str) -> None:
        """See Objects."""
        self.uploads.pop(upload_id, None)

    def _show(self, url: str, held: Held) -> None:
        if url not in self.objects or self.objects[url].body != held.body:
            self.made.append(url)
        self.objects[url] = held

    def _ask(self, operation: str, url: str) -> None:
        if (error := self.fault(operation, url)) is not None:
            raise error


class Place:
    """Everything that one endpoint's tasks need. `consume` begins a consumer's life, `die` ends it, as kill -9 does."""

    def __init__(self, folder: Path, kept: KeptQueues) -> None:
        self.folder = folder
        self.kept = kept
        self.objects = FakeObjects()
        self.worker = FakeWorker(folder / "w.sock", lambda got: got.answer(got.body, "text/plain"))
        self.gateway = Gateway()
        self.ended: list[Ended] = []
        self.queues = kept.client()
        self.lanes = 1
        self.uid = "u1"
        self.version = 0
        self.client: QueueClient | None = None
        self.consumer: Consumer | None = None
        self._run: asyncio.Task[None] | None = None
        self._runner: Runner | None = None

    async def start(self) -> None:
        """The worker, the queue and the topic's inbox."""
        await self.worker.start()
        await self.route()
        await self.mark(QueueMark(uid=self.uid))
        await self.queues.ask(Declare(queue=f"{INBOX_PREFIX}told", settings=QueueSettings()))

    async def mark(self, mark: QueueMark) -> None:
        """What control says of the queue."""
        settings = QueueSettings(tell_expired=True, attributes=msgspec.json.encode(mark))
        await self.queues.ask(Declare(queue=queue_of(ENDPOINT), settings=settings))

    async def route(self, lanes: int = 1) -> None:
        """Serve with so many lanes (none, or one)."""
        self.version += 1
        given = (self.worker.lane(),) if lanes else ()
        variant = VariantRoute(name="blue", weight=1.0, lanes=given, version="c1", max_payload_bytes=1 << 30)
        route = EndpointRoute(name=ENDPOINT, variants=(variant,), uid=self.uid, asynchronous=SETTINGS)
        await self.gateway.apply(RouteTable(version=self.version, endpoints=(route,)))
        if self.consumer is not None:
            self.consumer.routed()

    async def accept(self, task_id: str, body: bytes | None = b"x", *, ttl_s: float = 0.0, **more: object) -> AsyncTask:
        """As a gateway does."""
        task = AsyncTask(
            id=task_id,
            inference_id=f"i-{task_id}",
            endpoint=ENDPOINT,
            endpoint_uid=self.uid,
            version="c1",
            output_location=f"s3://bucket/out/{task_id}.out",
            failure_location=f"s3://bucket/failed/{task_id}-error.out",
            inline=body,
            accepted_s=time.time(),
            **({"settings": SETTINGS} | more),  # type: ignore[arg-type]
        )
        put = Put(queue=queue_of(ENDPOINT), id=task_id, body=msgspec.msgpack.encode(task), expires_s=ttl_s)
        assert isinstance(await self.queues.ask(put), Done)
        return task

    def consume(self) -> None:
        """A consumer begins."""
        self.client = self.kept.client()
        self._runner = Runner(
            self.gateway,
            self.objects,
            publication=publication,
            spool_dir=self.folder / "spool",
            told=self.ended.append,
        )
        self.consumer = Consumer(self.client, self.gateway, self._runner)
        self._run = asyncio.get_running_loop().create_task(self.consumer.run(), name="consumer")

    async def die(self) -> None:
        """It is gone at once; what it held is free."""
        if self.consumer is None or self.client is None or self._run is None or self._runner is None:
            return
        self._run.cancel()
        await self.client.close()
        await self.consumer.stop(0.0)
        await asyncio.gather(self._run, return_exceptions=True)
        self._runner.close()
        self.consumer = None

    async def depth(self) -> Depth:
        """How the endpoint's queue is."""
        found = await self.queues.ask(Look(queue=queue_of(ENDPOINT)))
        assert isinstance(found, Depth)
        return found

    async def notices(self) -> list[dict[str, object]]:
        """All that the topic was told so far; each only once."""
        lease = Lease(queue=f"{INBOX_PREFIX}told", owner=self.queues.owner, most=1000, lease_s=3600.0)
        found = await self.queues.ask(lease)
        assert isinstance(found, Leases)
        bodies = [msgspec.msgpack.decode(message.body) for message in found.messages]
        return [msgspec.json.decode(body["message"]) for body in bodies]

    async def close(self) -> None:
        """End it all."""
        await self.die()
        await self.gateway.close()
        await self.worker.die()


@asynccontextmanager
async def consuming(folder: Path, **kept: object) -> AsyncIterator[Place]:
    """A place in `folder` (a short path: it takes sockets), without a consumer yet."""
    async with kept_queues(folder, **kept) as queues:  # type: ignore[arg-type]
        place = Place(folder, queues)
        await place.start()
        try:
            yield place
        finally:
            await place.close()
