"""The processes beside control: nursery, gateway, queues and consumer.

Imports are inside the functions: none must pay for what another one needs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from typing import TYPE_CHECKING

from trimtab.config import HOUSE_VARIABLE, Config
from trimtab.process import lifeline_fd, tell_ready, until_stopped

if TYPE_CHECKING:
    from trimtab.queues.store import QueueStore

THREADS_TURN_S = 0.001  # how long a loop waits for a thread that computes, each time; Python's own is 5 ms
WORKER_IMPORTS = (
    "trimtab.worker.plain",
    "trimtab.worker.models.onnx",
)  # what most workers need: imported before the fork


def nursery(config: Config) -> int:
    """The fork server. Its children become workers."""
    from trimtab.engines.local.nursery import WARM_IMPORTS
    from trimtab.engines.local.nursery import main as run_nursery
    from trimtab.lives import newborn_life
    from trimtab.worker.rehearsal import rehearse

    paths = config.paths
    return run_nursery(
        paths.nursery_socket,
        lifeline_fd(),
        newborn_life(),
        (*WARM_IMPORTS, *WORKER_IMPORTS),
        record_dirs=paths.record_dirs,
        house=os.environ[HOUSE_VARIABLE],
        rehearse=rehearse,
        on_listening=tell_ready,
    )


async def gateway(config: Config, number: int, listener_fd: int, stop: asyncio.Event) -> None:
    """The data plane: one listening socket, the last route table, and lanes to workers."""
    from trimtab.aws.dataplane import keys_of
    from trimtab.aws.dataplane import serve as serve_data_plane
    from trimtab.aws.sigv4 import Verifier
    from trimtab.aws.tracing import tracing_of
    from trimtab.gateway.gateway import Gateway
    from trimtab.gateway.shared_count import bounds_of

    here = Gateway(metered=config.meters, bounds=bounds_of(config.paths.in_hand_dir, number, config.gateways))
    verifier = Verifier(keys_of(here), region=config.region)
    await serve_data_plane(
        socket.socket(fileno=listener_fd),
        config,
        gateway=here,
        verifier=verifier,
        tracing=tracing_of(os.environ),
        stop=stop,
        on_ready=tell_ready,
    )


async def consumer(config: Config, url: str, stop: asyncio.Event) -> None:
    """Drains the queues of asynchronous endpoints."""
    from trimtab.aws.consuming import serve as serve_tasks

    await serve_tasks(config, url, stop=stop, on_ready=tell_ready)


async def queues(config: Config, stop: asyncio.Event) -> None:
    """The one process that writes the durable queues; all others ask it."""
    from trimtab import datadir
    from trimtab.queues.keeper import QueueKeeper

    sys.setswitchinterval(THREADS_TURN_S)
    house = datadir.name_of(config.paths) + "/" if config.queues_url else ""
    keeper = QueueKeeper(queue_store(config, house), config.paths.queues_socket, house=house)
    await keeper.open()
    gc.freeze()
    tell_ready()
    try:
        await until_stopped(stop, keeper.run())
    finally:
        await keeper.close()


def queue_store(config: Config, house: str) -> QueueStore:
    """What keeps the queues: a file, or the database of many machines, in which this one is `house`."""
    from trimtab.queues.sqlite import SqliteQueueStore

    if not config.queues_url:
        return SqliteQueueStore(config.paths.queues)
    from trimtab.queues.postgresql import PostgresqlQueueStore

    return PostgresqlQueueStore(config.queues_url, house=house)
