"""The consumer process, put together: a gateway without a public port, and the queues that it drains."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

from trimtab import allocator
from trimtab.config import Config
from trimtab.consumer.consumer import Consumer
from trimtab.consumer.objects import Objects
from trimtab.consumer.runner import Runner
from trimtab.consumer.signals import QueueSignaller
from trimtab.consumer.tallies import Tallies
from trimtab.gateway.gateway import Gateway
from trimtab.gateway.reporter import Reporter
from trimtab.gateway.routes import RouteClient
from trimtab.process import until_stopped
from trimtab.queues.client import QueueClient
from trimtab.queues.model import Put
from trimtab.resources.asynchronous import QUEUE_PREFIX

STOP_GRACE_S = 5.0  # what has not ended by then is taken up again by the next consumer


async def serve(
    config: Config,
    objects: Objects,
    *,
    publication: Callable[[str, str, bytes], Put],
    stop: asyncio.Event,
    on_ready: Callable[[], None],
) -> None:
    """Drain until `stop` is set."""
    allocator.keep_freed_memory()
    paths = config.paths
    gateway = Gateway(metered=config.meters)
    queues = QueueClient(paths.queues_socket)
    tallies = Tallies(gateway)
    runner = Runner(
        gateway,
        objects,
        publication=publication,
        spool_dir=paths.spool,
        region=config.region,
        told=tallies.told if config.meters else lambda ended: None,
    )
    consumer = Consumer(queues, gateway, runner)
    routes = RouteClient(gateway, socket_path=paths.routes_socket, file_path=paths.routes, on_applied=consumer.routed)
    signaller = QueueSignaller(gateway, paths.signals_socket)
    queues.watch(QUEUE_PREFIX, signaller.told)
    _empty(paths.spool)
    await routes.load()
    queues.open()
    gc.collect()
    gc.freeze()
    on_ready()
    try:
        reporter = Reporter(tallies, paths.reports_socket)
        await until_stopped(stop, routes.run(), reporter.run(), signaller.run(), consumer.run())
    finally:
        await consumer.stop(STOP_GRACE_S)
        await queues.close()
        await gateway.close()
        runner.close()


def _empty(folder: Path) -> None:
    """What an earlier consumer spooled where files must have names."""
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
