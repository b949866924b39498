"""What control counts: requests that gateways report, what replicas use, what waits in queues; and what that costs."""

from __future__ import annotations

from contextlib import AsyncExitStack

from msgspec import Struct

from trimtab.advisor.charging import ChargedPrices
from trimtab.app.control.keeping import Kept
from trimtab.clock import Clock, boot_id
from trimtab.config import Config
from trimtab.control.backlogs import Backlogs
from trimtab.control.costs.ledger import Ledger
from trimtab.control.dropped_notices import DroppedNotices
from trimtab.control.hosts.metering import HostMeter
from trimtab.control.metering import Metering
from trimtab.control.report_server import ReportServer
from trimtab.control.routes import RoutePublisher
from trimtab.control.sampler import Sampler
from trimtab.engines.engine import Engine
from trimtab.queues.client import QueueClient
from trimtab.resources.asynchronous import QUEUE_PREFIX


class Counting(Struct, frozen=True, kw_only=True):
    """`models`: what hosts tell of theirs."""

    metering: Metering
    ledger: Ledger
    sampler: Sampler
    backlogs: Backlogs
    models: HostMeter


async def count(
    config: Config,
    kept: Kept,
    engine: Engine,
    publisher: RoutePublisher,
    queues: QueueClient,
    clock: Clock,
    parts: AsyncExitStack,
) -> Counting:
    """Hear gateways' reports from now on. The ledger is not open yet: it is once the engine is."""
    metering = Metering(
        kept.metrics,
        lambda: publisher.book.table,
        clock,
        dropped=DroppedNotices(kept.store.add_events, clock).note,
        also=lambda report: ledger.taken(report),
        heard=kept.came.take,
    )
    kept.metrics.watch(metering.watch)
    ledger = Ledger(
        kept.metrics,
        engine=engine,
        records=kept.store,
        prices=ChargedPrices(config.region, now_s=clock.now_s),
        clock=clock,
        boot=boot_id(),
        spent=metering.spent,
    )
    backlogs = Backlogs(kept.metrics, lambda: publisher.book.table, clock)
    queues.watch(QUEUE_PREFIX, backlogs.told)
    reports = ReportServer(config.paths.reports_socket, metering)
    parts.push_async_callback(reports.close)
    await reports.open()
    return Counting(
        metering=metering,
        ledger=ledger,
        sampler=Sampler(engine, kept.store, kept.metrics, clock),
        backlogs=backlogs,
        models=HostMeter(kept.metrics, clock, also=ledger.noted, holding=ledger.holds),
    )
