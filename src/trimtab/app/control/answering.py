"""What control answers with: AWS's calls, trimtab's own, and metrics for Prometheus, on its socket."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

from trimtab.app.control.counting import Counting
from trimtab.app.control.deciding import Deciding
from trimtab.app.control.keeping import Kept
from trimtab.aws.auth import Authenticator
from trimtab.aws.keys import paging_secret
from trimtab.aws.messaging import Messaging
from trimtab.aws.native_scaling import ScalingHistory
from trimtab.aws.paging import Pager
from trimtab.aws.prometheus import Prometheus
from trimtab.aws.server import HttpServer
from trimtab.aws.surface import aws_handlers, control_handler
from trimtab.clock import Clock
from trimtab.config import Auth, Config
from trimtab.control.costs.asking import CostBook
from trimtab.control.costs.only_models import only_model
from trimtab.control.exposition import Exposition
from trimtab.control.hosts.service import ModelHosts
from trimtab.control.queue_desk import QueueDesk
from trimtab.control.top import Overview
from trimtab.process import unix_listener
from trimtab.queues.client import QueueClient

Work = Coroutine[Any, Any, None]


async def answer(
    config: Config,
    kept: Kept,
    counting: Counting,
    deciding: Deciding,
    hosts: ModelHosts,
    queues: QueueClient,
    clock: Clock,
    parts: AsyncExitStack,
) -> Sequence[Work]:
    """Take calls from now on; what is to run for as long as they are taken."""
    plane, scaling = deciding.plane, deciding.scaling
    signed = config.auth is Auth.SIGV4
    authenticator = Authenticator(kept.keys, region=config.region, clock=clock, required=signed)
    exposition = Exposition(counting.metering)
    overview = Overview(
        plane,
        kept.metrics,
        lambda: counting.sampler.usages,
        clock,
        counting.models.models,
        counting.backlogs.size,
        counting.ledger.usd_per_hour,
    )
    messaging = Messaging(config, queues, clock, Pager(paging_secret(config.paths.keys)))
    costs = CostBook(counting.ledger, kept.metrics, clock, only_model(plane))
    handler = control_handler(
        config,
        plane,
        overview,
        ScalingHistory(kept.journal, scaling.api),
        aws_handlers(config, plane, kept.objects, kept.metrics, deciding.alarms, scaling.api, messaging.handlers),
        authenticator,
        Prometheus(exposition, kept.keys, authenticator, required=signed),
        hosts,
        QueueDesk(queues, lambda name: plane.get_endpoint(name).endpoint.name),
        costs,
    )
    server = HttpServer(messaging.before(handler))
    await server.start(unix_listener(config.paths.control_socket))
    parts.push_async_callback(server.stop, grace_s=5.0)
    return exposition.run(), costs.run(), *messaging.works()
