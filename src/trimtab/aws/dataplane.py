"""The data plane of one gateway process, put together: public port, gateway, routes, and the way to control."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from trimtab import allocator, logs
from trimtab.aws.passthrough import Passthrough
from trimtab.aws.runtime import RuntimeEdge
from trimtab.aws.server import HttpServer, Limits
from trimtab.aws.sigv4 import Verifier
from trimtab.config import Config
from trimtab.gateway.gateway import Gateway
from trimtab.gateway.reporter import Reporter
from trimtab.gateway.routes import RouteClient
from trimtab.gateway.signaller import Signaller
from trimtab.queues.client import QueueClient
from trimtab.queues.store import Queues
from trimtab.resources.routing import AccessKey

if TYPE_CHECKING:
    from trimtab.aws.tracing.tracing import Tracing

logger = logging.getLogger(__name__)


async def serve(
    sock: socket.socket,
    config: Config,
    *,
    gateway: Gateway,
    verifier: Verifier,
    tracing: Tracing | None = None,
    stop: asyncio.Event,
    limits: Limits | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve on `sock` (bound) until `stop` is set, then finish what is in hand and return.

    `gateway` is made by the caller, so that it can ask for its reports; `verifier` should look its keys
    up in `gateway.table.keys`. `on_ready` is called once connections are accepted. Starts from the last published
    routes, so it serves even when control is away.
    """
    allocator.keep_freed_memory()
    paths = config.paths
    routes = RouteClient(gateway, socket_path=paths.routes_socket, file_path=paths.routes)
    passthrough = Passthrough(paths.control_socket)
    queues = QueueClient(paths.queues_socket)
    server = HttpServer(passthrough, fast=_edge(gateway, verifier, tracing, queues), limits=limits)
    queues.open()
    await routes.load()
    reporter = Reporter(gateway, paths.reports_socket)
    signaller = Signaller(gateway, paths.signals_socket)
    works = [asyncio.create_task(work) for work in (routes.run(), reporter.run(), signaller.run())]
    await server.start(sock)
    logger.info("gateway serves %s", logs.fields(address=sock.getsockname(), routes=gateway.table.version))
    gc.collect()
    gc.freeze()  # what is here stays: collections need not look at it again
    if on_ready is not None:
        on_ready()
    stopped = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait((stopped, *works), return_when=asyncio.FIRST_COMPLETED)
        for work in works:
            if work in done:
                work.result()  # it ends only by a bug: show it, and let the supervisor start a fresh process
    finally:
        await server.stop(grace_s=config.drain_grace_s)  # still following routes: what is in hand may need them
        stopped.cancel()
        for work in works:
            work.cancel()
        await asyncio.gather(stopped, *works, return_exceptions=True)
        await gateway.close()
        await passthrough.close()
        await queues.close()
        if tracing is not None:
            await tracing.close()


def _edge(gateway: Gateway, verifier: Verifier, tracing: Tracing | None, queues: Queues) -> RuntimeEdge:
    """The edge: with traces only where they are asked for, so that nobody else pays for them."""
    if tracing is None:
        return RuntimeEdge(gateway, verifier, queues)
    from trimtab.aws.tracing.edge import TracedEdge

    return TracedEdge(gateway, verifier, tracing, queues)


def keys_of(here: Gateway) -> Callable[[], Mapping[str, AccessKey]]:
    """The access keys of the table that a gateway routes by, by id."""
    table = here.table
    keys: dict[str, AccessKey] = {}

    def current() -> Mapping[str, AccessKey]:
        nonlocal table, keys
        if here.table is not table:
            table, keys = here.table, {key.id: key for key in here.table.keys}
        return keys

    return current
