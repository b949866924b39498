"""Builds the whole system from Config: every part of each process, in one list. Nothing else picks implementations.

Imports are inside the functions: a gateway must not pay for SQLAlchemy, nor the supervisor for anything.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from trimtab import logs
from trimtab.clock import SystemClock, boot_id
from trimtab.config import HOUSE_VARIABLE, Auth, Config
from trimtab.errors import Invalid
from trimtab.listening import allow_many_files, listen
from trimtab.process import lifeline_fd, run_until_stopped, tell_ready, unix_listener, until_stopped

if TYPE_CHECKING:
    from trimtab.queues.store import QueueStore
    from trimtab.resources.endpoint import Event

CONFIG_VARIABLE = "TRIMTAB_PROCESS_CONFIG"
THREADS_TURN_S = 0.001  # how long control's loop waits for a thread that computes, each time; Python's own is 5 ms
WORKER_IMPORTS = (
    "trimtab.worker.plain",
    "trimtab.worker.models.onnx",
)  # what most workers need: imported before the fork
LOOPBACK = ("127.", "::1", "localhost")


# --- trimtab serve: claim the folder, take the port, become the supervisor -------------------------------------------


def serve(config: Config) -> None:
    """Never returns: replaces this process by the supervisor. Raises Invalid with the cure when it cannot serve."""
    from trimtab import datadir
    from trimtab.aws import keys, tracing
    from trimtab.aws.sns import remote
    from trimtab.images import read_runtimes

    if config.auth is Auth.NONE and not config.host.startswith(LOOPBACK):
        raise Invalid(
            f"--auth none lets anybody in, so it works on loopback only, not on {config.host}. "
            "Leave --auth away, or listen on 127.0.0.1."
        )
    tracing.check(os.environ)
    if config.sns_endpoint_url:
        remote.check(config.sns_endpoint_url, os.environ)
    if config.queues_url:
        check_database(config.queues_url)
    lock_fd = datadir.claim(config.paths)
    keys.ensure(config.paths.keys, now_s=SystemClock().now_s())
    read_runtimes(config.paths.runtimes)  # a mistake in the user's table is told now, not at the first deployment
    allow_many_files()
    listeners = listen(config.host, config.port, config.gateways)
    port = listeners[0].getsockname()[1]
    url = f"http://{'[' + config.host + ']' if ':' in config.host else config.host}:{port}"
    become_supervisor(config, url, listeners, lock_fd)


def check_database(url: str) -> None:
    """Invalid, with the cure, when queues cannot be kept in that database."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise Invalid("--queues-url: it is postgresql://USER:PASSWORD@HOST:PORT/DATABASE.")
    try:
        from trimtab.queues import postgresql
    except ImportError as error:
        raise Invalid(f"--queues-url: PostgreSQL needs `pip install 'trimtab[postgresql]'` ({error}).") from error
    postgresql.check(url)


def become_supervisor(config: Config, url: str, listeners: list[socket.socket], lock_fd: int) -> None:
    """Exec `trimtab.supervisor` with its orders. The lock and the listening sockets stay open in it."""
    python = [sys.executable, "-m", "trimtab.app"]
    children: list[dict[str, object]] = [
        {"name": "queues", "argv": [*python, "queues"], "fds": []},
        {"name": "control", "argv": [*python, "control"], "fds": []},
        {"name": "nursery", "argv": [*python, "nursery"], "fds": []},
        {"name": "consumer", "argv": [*python, "consumer", url], "fds": []},
    ]
    for index, listener in enumerate(listeners):
        argv = [*python, "gateway", str(index), str(listener.fileno())]
        children.append({"name": f"gateway {index}", "argv": argv, "fds": [listener.fileno()]})
    orders = {
        "children": children,
        "server_file": str(config.paths.server),
        "url": url,
        "region": config.region,
        "run_dir": str(config.paths.run_dir),
        "record_dirs": [str(folder) for folder in config.paths.record_dirs],
    }
    os.set_inheritable(lock_fd, True)
    for listener in listeners:
        listener.set_inheritable(True)
    environment = dict(os.environ)
    environment["TRIMTAB_SUPERVISE"] = msgspec.json.encode(orders).decode()
    environment[HOUSE_VARIABLE] = secrets.token_hex(8)
    environment[CONFIG_VARIABLE] = msgspec.json.encode(config, enc_hook=str).decode()
    sys.stdout.flush()
    keep = [lock_fd, *(listener.fileno() for listener in listeners)]
    os.execve(sys.executable, [sys.executable, "-m", "trimtab.supervisor", *map(str, keep)], environment)


# --- the processes ---------------------------------------------------------------------------------------------------


def main(argv: list[str]) -> int:
    """`python -m trimtab.app PROCESS ...`: what the supervisor starts."""
    from pathlib import Path

    from setproctitle import setproctitle

    def path(kind: type, value: str) -> Path:
        return Path(value)

    config = msgspec.json.decode(os.environ[CONFIG_VARIABLE], type=Config, dec_hook=path)
    process = " ".join(argv[:2]) if argv[0] == "gateway" else argv[0]
    setproctitle(f"trimtab: {process}")
    logs.configure(process, config.log_level)
    if argv[0] == "nursery":
        return nursery(config)
    works: dict[str, Callable[[asyncio.Event], Awaitable[None]]] = {
        "gateway": lambda stop: gateway(config, int(argv[1]), int(argv[2]), stop),
        "queues": lambda stop: queues(config, stop),
        "consumer": lambda stop: consumer(config, argv[1], stop),
        "control": lambda stop: control(config, stop),
    }
    return run_until_stopped(works[argv[0]])


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


async def control(config: Config, stop: asyncio.Event) -> None:
    """The control plane: AWS's APIs, the store, the engine, and the loop that makes intent true."""
    from trimtab.advisor.charging import ChargedPrices
    from trimtab.aws.auth import Authenticator
    from trimtab.aws.keys import KeyRing, paging_secret
    from trimtab.aws.messaging import Messaging
    from trimtab.aws.native_scaling import ScalingHistory
    from trimtab.aws.paging import Pager
    from trimtab.aws.prometheus import Prometheus
    from trimtab.aws.server import HttpServer
    from trimtab.aws.surface import aws_handlers, control_handler
    from trimtab.control.alarm_loop import AlarmLoop
    from trimtab.control.alarms import Alarms
    from trimtab.control.async_queues import AsyncQueues
    from trimtab.control.backlogs import Backlogs
    from trimtab.control.costs.asking import CostBook
    from trimtab.control.costs.ledger import Ledger
    from trimtab.control.costs.only_models import only_model
    from trimtab.control.dropped_notices import DroppedNotices
    from trimtab.control.exposition import Exposition
    from trimtab.control.hosts.came import Came
    from trimtab.control.hosts.files import Disk
    from trimtab.control.hosts.history import History
    from trimtab.control.hosts.metering import HostMeter
    from trimtab.control.hosts.service import ModelHosts
    from trimtab.control.metering import Metering
    from trimtab.control.queue_desk import QueueDesk
    from trimtab.control.report_server import ReportServer
    from trimtab.control.routes import RoutePublisher
    from trimtab.control.sampler import Sampler
    from trimtab.control.scaling.arns import Arns
    from trimtab.control.scaling.journal import Journal
    from trimtab.control.scaling.live import LiveScaling
    from trimtab.control.seen import Settings
    from trimtab.control.serverless import learned_file
    from trimtab.control.serverless.keeper import EnvironmentKeeper
    from trimtab.control.service import Control
    from trimtab.control.signal_server import SignalServer
    from trimtab.control.top import Overview
    from trimtab.engines.local.engine import LocalEngine
    from trimtab.images import runtime_resolver
    from trimtab.metrics.sqlite import SqliteMetricStore
    from trimtab.objects.artifacts import ArtifactCache
    from trimtab.objects.indexed import open_object_store
    from trimtab.objects.leases import Leases
    from trimtab.queues.client import QueueClient
    from trimtab.queues.topics import publication
    from trimtab.resources.asynchronous import QUEUE_PREFIX
    from trimtab.store.sqlite import open_sqlite

    sys.setswitchinterval(THREADS_TURN_S)
    paths, clock = config.paths, SystemClock()
    keys = KeyRing(paths.keys)
    publisher = RoutePublisher(
        paths.routes,
        paths.routes_socket,
        clock,
        keys=tuple(keys().values()),
        require_auth=config.auth is Auth.SIGV4,
        account=config.account,
        region=config.region,
        expected_gateways=config.gateways + 1,  # the consumer routes, too
    )
    async with AsyncExitStack() as parts:
        metrics = SqliteMetricStore(paths.metrics, clock)
        parts.callback(metrics.close)
        store = open_sqlite(paths.database)
        dropped = DroppedNotices(store.add_events, clock)
        model_history = History(paths.loads, clock)
        came = Came(model_history, lambda endpoint: store.get_endpoint(endpoint).uid)
        metering = Metering(
            metrics,
            lambda: publisher.book.table,
            clock,
            dropped=dropped.note,
            also=lambda report: ledger.taken(report),
            heard=came.take,
        )
        metrics.watch(metering.watch)
        reports = ReportServer(paths.reports_socket, metering)
        objects = open_object_store(paths.objects, clock)
        parts.push_async_callback(objects.close)
        await objects.start()
        artifacts = ArtifactCache(
            objects,
            paths.artifacts,
            clock,
            max_unpacked_bytes=config.max_artifact_bytes,
            max_cache_bytes=config.artifact_cache_bytes,
        )
        parts.push_async_callback(artifacts.close)
        await artifacts.start()
        leases = Leases(artifacts)
        engine = LocalEngine(
            paths,
            leases.fetch,
            clock,
            adopt_artifact=leases.adopt,
            region=config.region,
            enforce_shapes=config.enforce_instance_shapes,
            invocation_limit_s=config.invocation_timeout_s,
            orphan_grace_s=config.drain_grace_s,
            house=os.environ[HOUSE_VARIABLE],
            supervisor_pid=os.getppid(),
        )
        ledger = Ledger(
            metrics,
            engine=engine,
            records=store,
            prices=ChargedPrices(config.region, now_s=clock.now_s),
            clock=clock,
            boot=boot_id(),
            spent=metering.spent,
        )
        parts.push_async_callback(reports.close)
        await reports.open()
        queue_client = QueueClient(paths.queues_socket)
        queue_client.open()
        parts.push_async_callback(queue_client.close)
        backlogs = Backlogs(metrics, lambda: publisher.book.table, clock)
        queue_client.watch(QUEUE_PREFIX, backlogs.told)
        sampler = Sampler(engine, store, metrics, clock)

        def told(endpoint: str, events: Sequence[Event]) -> None:
            sampler.told(endpoint, events)
            scaling.told(endpoint, events)
            async_queues.changed()
            environments.told(endpoint, events)

        plane = Control(
            store=store,
            engine=engine,
            publisher=publisher,
            clock=clock,
            resolve_runtime=runtime_resolver(config.paths.runtimes),
            artifact_exists=objects.holds,
            bucket_exists=objects.holds_bucket,
            settings=Settings(
                drain_grace_s=config.drain_grace_s,
                timeout_s=config.invocation_timeout_s,
                max_payload_bytes=config.max_payload_bytes,
            ),
            told=told,
            signals=lambda endpoint, variant: scaling.api.wants_signals(endpoint, variant),
            model_settings=store.hosting.settings,
            floor=lambda endpoint, variant: scaling.api.floor(endpoint, variant),
            scalable=lambda endpoint, variant: scaling.api.is_scalable(endpoint, variant),
            environments=lambda key, record, replicas: environments.see(key, record, replicas),
        )
        signals = SignalServer(paths.signals_socket)
        environments = EnvironmentKeeper(
            plane.wake,
            lambda: signals.totals,
            lambda: signals.connections.count > config.gateways,  # all gateways, and the consumer
            clock,
            learned=learned_file.read(paths.idle_times),
            keep=lambda packed: learned_file.write(paths.idle_times, packed),
        )
        async_queues = AsyncQueues(queue_client, store.list_endpoints, publication)
        alarms = Alarms(store.alarms, clock, lambda alarm, action: scaling.act(alarm, action))
        journal = Journal(paths.scaling, clock)
        parts.callback(journal.close)
        scaling = LiveScaling(
            store=store,
            plane=plane,
            alarms=alarms,
            metrics=metrics,
            clock=clock,
            note=journal.note,
            arns=Arns(config.region, config.account),
            ready=publisher.book.ready,
            signals=signals,
            gateways=config.gateways + 1,  # and the consumer, of asynchronous endpoints
            hears=environments.hear,
        )
        host_meter = HostMeter(metrics, clock, also=ledger.noted, holding=ledger.holds)
        hosts = ModelHosts(
            paths.hosts_socket,
            store=store,
            engine=engine,
            disk=Disk(leases.fetch, leases.adopt, lambda file, timeout_s: engine.install(file, timeout_s=timeout_s)),
            there=lambda url: objects.holds(url, True),
            digest_of=artifacts.digest_of,
            history=model_history,
            meter=host_meter,
            changed=plane.wake,
            clock=clock,
        )
        parts.push_async_callback(plane.close)
        await plane.open()
        ledger.open()
        parts.push_async_callback(hosts.close)
        parts.push_async_callback(came.close)
        await hosts.open()
        objects.watch(hosts.object_changed)
        parts.push_async_callback(scaling.close)
        await scaling.open()
        signed = config.auth is Auth.SIGV4
        authenticator = Authenticator(keys, region=config.region, clock=clock, required=signed)
        exposition = Exposition(metering)
        prometheus = Prometheus(exposition, keys, authenticator, required=signed)
        overview = Overview(
            plane, metrics, lambda: sampler.usages, clock, host_meter.models, backlogs.size, ledger.usd_per_hour
        )
        alarm_loop = AlarmLoop(alarms, metrics, clock)
        messaging = Messaging(config, queue_client, clock, Pager(paging_secret(paths.keys)))
        handlers = aws_handlers(config, plane, objects, metrics, alarms, scaling.api, messaging.handlers)
        history = ScalingHistory(journal, scaling.api)
        costs = CostBook(ledger, metrics, clock, only_model(plane))
        desk = QueueDesk(queue_client, lambda name: plane.get_endpoint(name).endpoint.name)
        handler = control_handler(
            config, plane, overview, history, handlers, authenticator, prometheus, hosts, desk, costs
        )
        server = HttpServer(messaging.before(handler))
        await server.start(unix_listener(paths.control_socket))
        parts.push_async_callback(server.stop, grace_s=5.0)
        gc.freeze()  # what is here stays: collections need not look at it again, and hold up the loop for less
        tell_ready()
        watch = keys.watch(publisher.set_keys)
        works = (plane.run(), metering.run(), exposition.run(), sampler.run(), alarm_loop.run(), scaling.run(), watch)
        more = (
            async_queues.run(),
            backlogs.run(),
            hosts.run(),
            host_meter.run(),
            environments.run(),
            ledger.run(),
            costs.run(),
        )
        await until_stopped(stop, *works, *more, *messaging.works())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
