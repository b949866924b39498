"""The control process: AWS's APIs, the store, the engine, and the loop that makes intent true.

keeping.py    its files        counting.py   what it counts, and what that costs
deciding.py   the plane, scaling, alarms      answering.py   its socket
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from contextlib import AsyncExitStack

from trimtab.app.control.answering import answer
from trimtab.app.control.counting import Counting, count
from trimtab.app.control.deciding import Deciding, decide
from trimtab.app.control.keeping import Kept, keep
from trimtab.app.processes import THREADS_TURN_S
from trimtab.clock import Clock, SystemClock
from trimtab.config import HOUSE_VARIABLE, Auth, Config
from trimtab.control.alarm_loop import AlarmLoop
from trimtab.control.hosts.files import Disk
from trimtab.control.hosts.service import ModelHosts
from trimtab.control.routes import RoutePublisher
from trimtab.engines.local.engine import LocalEngine
from trimtab.process import tell_ready, until_stopped
from trimtab.queues.client import QueueClient


async def control(config: Config, stop: asyncio.Event) -> None:
    """Make every part, open them in the order in which they need each other, and run until `stop`."""
    sys.setswitchinterval(THREADS_TURN_S)
    clock = SystemClock()
    async with AsyncExitStack() as parts:
        kept = await keep(config, clock, parts)
        publisher = _publisher(config, kept, clock)
        engine = _engine(config, kept, clock)
        queues = QueueClient(config.paths.queues_socket)
        queues.open()
        parts.push_async_callback(queues.close)
        counting = await count(config, kept, engine, publisher, queues, clock, parts)
        deciding = decide(config, kept, counting, engine, publisher, queues, clock)
        plane, scaling = deciding.plane, deciding.scaling
        hosts = _hosts(config, kept, counting, deciding, engine, clock)
        parts.push_async_callback(plane.close)
        await plane.open()
        counting.ledger.open()
        parts.push_async_callback(hosts.close)
        await hosts.open()
        kept.objects.watch(hosts.object_changed)
        parts.push_async_callback(scaling.close)
        await scaling.open()
        works = await answer(config, kept, counting, deciding, hosts, queues, clock, parts)
        gc.freeze()  # what is here stays: collections need not look at it again, and hold up the loop for less
        tell_ready()
        await until_stopped(
            stop,
            plane.run(),
            counting.metering.run(),
            counting.sampler.run(),
            AlarmLoop(deciding.alarms, kept.metrics, clock).run(),
            scaling.run(),
            kept.keys.watch(publisher.set_keys),
            deciding.queues.run(),
            counting.backlogs.run(),
            hosts.run(),
            counting.models.run(),
            deciding.environments.run(),
            counting.ledger.run(),
            *works,
        )


def _publisher(config: Config, kept: Kept, clock: Clock) -> RoutePublisher:
    return RoutePublisher(
        config.paths.routes,
        config.paths.routes_socket,
        clock,
        keys=tuple(kept.keys().values()),
        require_auth=config.auth is Auth.SIGV4,
        account=config.account,
        region=config.region,
        expected_gateways=config.gateways + 1,  # the consumer routes, too
    )


def _engine(config: Config, kept: Kept, clock: Clock) -> LocalEngine:
    return LocalEngine(
        config.paths,
        kept.leases.fetch,
        clock,
        adopt_artifact=kept.leases.adopt,
        region=config.region,
        enforce_shapes=config.enforce_instance_shapes,
        invocation_limit_s=config.invocation_timeout_s,
        orphan_grace_s=config.drain_grace_s,
        house=os.environ[HOUSE_VARIABLE],
        supervisor_pid=os.getppid(),
    )


def _hosts(
    config: Config, kept: Kept, counting: Counting, deciding: Deciding, engine: LocalEngine, clock: Clock
) -> ModelHosts:
    return ModelHosts(
        config.paths.hosts_socket,
        store=kept.store,
        engine=engine,
        disk=Disk(
            fetch=kept.leases.fetch,
            adopt=kept.leases.adopt,
            install=lambda file, timeout_s: engine.install(file, timeout_s=timeout_s),
        ),
        there=lambda url: kept.objects.holds(url, True),
        digest_of=kept.artifacts.digest_of,
        history=kept.models,
        meter=counting.models,
        changed=deciding.plane.wake,
        clock=clock,
    )
