"""The plane, and what decides beside it: autoscaling, alarms, serverless environments, and queues of endpoints."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from trimtab.app.control.counting import Counting
from trimtab.app.control.keeping import Kept
from trimtab.clock import Clock
from trimtab.config import Config
from trimtab.control.alarms import Alarms
from trimtab.control.async_queues import AsyncQueues
from trimtab.control.routes import RoutePublisher
from trimtab.control.scaling.arns import Arns
from trimtab.control.scaling.live import LiveScaling
from trimtab.control.seen import Settings
from trimtab.control.serverless import learned_file
from trimtab.control.serverless.keeper import EnvironmentKeeper
from trimtab.control.service import Control
from trimtab.control.signal_server import SignalServer
from trimtab.engines.engine import Engine
from trimtab.images import runtime_resolver
from trimtab.queues.client import QueueClient
from trimtab.queues.topics import publication
from trimtab.resources.endpoint import Event


class Deciding(Struct, frozen=True, kw_only=True):
    """Made, and not open yet."""

    plane: Control
    scaling: LiveScaling
    alarms: Alarms
    environments: EnvironmentKeeper
    queues: AsyncQueues


def decide(
    config: Config,
    kept: Kept,
    counting: Counting,
    engine: Engine,
    publisher: RoutePublisher,
    queues: QueueClient,
    clock: Clock,
) -> Deciding:
    """Each hears of the others through the names here: none is called before all are made."""

    def told(endpoint: str, events: Sequence[Event]) -> None:
        counting.sampler.told(endpoint, events)
        scaling.told(endpoint, events)
        async_queues.changed()
        environments.told(endpoint, events)

    plane = Control(
        store=kept.store,
        engine=engine,
        publisher=publisher,
        clock=clock,
        resolve_runtime=runtime_resolver(config.paths.runtimes),
        artifact_exists=kept.objects.holds,
        bucket_exists=kept.objects.holds_bucket,
        settings=Settings(
            drain_grace_s=config.drain_grace_s,
            timeout_s=config.invocation_timeout_s,
            max_payload_bytes=config.max_payload_bytes,
        ),
        told=told,
        signals=lambda endpoint, variant: scaling.api.wants_signals(endpoint, variant),
        model_settings=kept.store.hosting.settings,
        floor=lambda endpoint, variant: scaling.api.floor(endpoint, variant),
        scalable=lambda endpoint, variant: scaling.api.is_scalable(endpoint, variant),
        environments=lambda key, record, replicas: environments.see(key, record, replicas),
    )
    signals = SignalServer(config.paths.signals_socket)
    environments = EnvironmentKeeper(
        plane.wake,
        lambda: signals.totals,
        lambda: signals.connections.count > config.gateways,  # all gateways, and the consumer
        clock,
        learned=learned_file.read(config.paths.idle_times),
        keep=lambda packed: learned_file.write(config.paths.idle_times, packed),
    )
    async_queues = AsyncQueues(queues, kept.store.list_endpoints, publication)
    alarms = Alarms(kept.store.alarms, clock, lambda alarm, action: scaling.act(alarm, action))
    scaling = LiveScaling(
        store=kept.store,
        plane=plane,
        alarms=alarms,
        metrics=kept.metrics,
        clock=clock,
        note=kept.journal.note,
        arns=Arns(config.region, config.account),
        ready=publisher.book.ready,
        signals=signals,
        gateways=config.gateways + 1,  # and the consumer, of asynchronous endpoints
        hears=environments.hear,
    )
    return Deciding(plane=plane, scaling=scaling, alarms=alarms, environments=environments, queues=async_queues)
