"""ModelHosts: control's side of all model hosts in one object, and what can be asked and set of their models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.control.hosts.api import HostView, ModelCount, PastEvent
from trimtab.control.hosts.came import CameRow, life_of
from trimtab.control.hosts.changes import Changes, DigestOf
from trimtab.control.hosts.files import Disk
from trimtab.control.hosts.history import History
from trimtab.control.hosts.metering import HostMeter
from trimtab.control.hosts.noting import Noting
from trimtab.control.hosts.reading import Reading, Terms
from trimtab.control.hosts.server import Host, HostServer, Said
from trimtab.control.hosts.telling import Telling
from trimtab.engines.engine import Engine
from trimtab.errors import Invalid, NotFound
from trimtab.logs import fields
from trimtab.policies.models.settings import check_setting, merged
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.runtime import RuntimeKind
from trimtab.store.store import Store
from trimtab.wire.hosting import Events, Fetch, Holding, HostHello, Release

logger = logging.getLogger(__name__)

TIDY_EVERY_S: Final = 60.0


class ModelHosts:
    """Implements `ModelsApi`, and `server.Takes`. On the event loop: `open`, then `run` until cancelled; `close`."""

    def __init__(
        self,
        socket: Path,
        *,
        store: Store,
        engine: Engine,
        disk: Disk,
        there: Callable[[str], bool],
        digest_of: DigestOf,
        history: History,
        meter: HostMeter,
        changed: Callable[[str], None],
        clock: Clock,
    ) -> None:
        """`there` and `digest_of` look at the object store (`Changes`); `changed` hears of endpoints whose settings
        have changed: gateways are to know. `history` is closed by whoever gives it, afterwards."""
        self._store = store
        self._engine = engine
        self._history = history
        self._meter = meter
        self._changed = changed
        self._clock = clock
        self._server = HostServer(socket, self)
        self._reading = Reading(disk, self._terms)
        self._noting = Noting(history, meter)
        self._telling = Telling(store, engine)
        self._changes = Changes(there, digest_of)
        self._holdings: dict[Host, Holding] = {}
        self._left: set[str] = set()  # replicas that are not connected and may have ended

    async def open(self) -> None:
        """Let hosts connect."""
        self._telling.open()
        await self._server.open()

    async def run(self) -> None:
        """Forget what is too old, for ever."""
        while True:
            await asyncio.sleep(TIDY_EVERY_S)
            try:
                await self.tidy()
            except Exception as error:  # the next time is another one
                logger.exception("the history of models could not be tidied up %s", fields(error=error))

    async def tidy(self) -> None:
        """Forget replicas that have ended, and history that is too old or too much."""
        ended = self._left - {replica.id for replica in self._engine.observe()}
        for replica_id in ended:
            self._meter.gone(replica_id)
        self._left -= ended
        await self._history.forget([record.uid for record in self._store.list_endpoints()])

    async def close(self) -> None:
        """Let hosts go; they hold what they hold, and tell the next control what was not acknowledged."""
        async with AsyncExitStack() as parts:
            for part in (self._changes, self._noting, self._reading, self._server):
                parts.push_async_callback(part.close)
            self._telling.close()

    def object_changed(self, bucket: str, key: str) -> None:
        """Whoever watches the object store calls this."""
        self._changes.changed(bucket, key)

    # --- hosts -----------------------------------------------------------------------------------------------------

    def joined(self, host: Host) -> None:
        """See `Takes`."""
        logger.info("model host connected %s", fields(replica=host.replica_id, endpoint=host.hello.endpoint))
        self._left.discard(host.replica_id)
        self._holdings[host] = Holding(residents=(), memory_bytes=0, used_bytes=0)
        for part in (self._reading, self._changes, self._telling):
            part.joined(host)

    def said(self, host: Host, says: Said) -> None:
        """See `Takes`."""
        match says:
            case Fetch():
                self._reading.fetch(host, says)
            case Release():
                self._reading.release(host, says.path)
            case Holding():
                self._holdings[host] = says
                self._meter.holds(host.replica_id, host.place, says)
                self._changes.holding(host, says)
            case Events():
                if says.events:
                    self._noting.take(host, says)

    def left(self, host: Host) -> None:
        """See `Takes`."""
        logger.info("model host gone %s", fields(replica=host.replica_id, endpoint=host.hello.endpoint))
        self._left.add(host.replica_id)
        del self._holdings[host]
        self._meter.left(host.replica_id)
        for part in (self._reading, self._noting, self._changes, self._telling):
            part.left(host)

    def _terms(self, hello: HostHello) -> Terms:
        try:
            deployed = self._store.get_endpoint(hello.endpoint).deployed(hello.replica_id, hello.variant)
        except NotFound:
            deployed = None
        if deployed is None:
            return Terms()
        return Terms(python=deployed.runtime.kind is RuntimeKind.PYTHON, timeout_s=deployed.spec.download_timeout_s)

    # --- ModelsApi -------------------------------------------------------------------------------------------------

    def hosts(self, endpoint: str) -> Sequence[HostView]:
        """See ModelsApi."""
        record = self._multi_model(endpoint)
        return [
            HostView(
                replica_id=host.replica_id,
                variant=host.hello.variant,
                memory_bytes=holding.memory_bytes,
                used_bytes=holding.used_bytes,
                hits=holding.hits,
                misses=holding.misses,
                residents=holding.residents,
            )
            for host, holding in sorted(self._holdings.items(), key=lambda pair: pair[0].replica_id)
            if life_of(host.replica_id) == record.uid
        ]

    async def counts(self, endpoint: str) -> Sequence[ModelCount]:
        """See ModelsApi."""
        record = self._multi_model(endpoint)
        counts = {count.model: count for count in await self._history.counts(record.uid)}
        for host, holding in self._holdings.items():
            for resident in holding.residents if life_of(host.replica_id) == record.uid else ():
                before = counts.get(resident.model) or ModelCount(model=resident.model)
                counts[resident.model] = replace(
                    before, requests=before.requests + resident.requests, misses=before.misses + resident.misses
                )
        return [counts[model] for model in sorted(counts)]

    async def events(
        self, endpoint: str, *, model: str = "", since_s: float = 0.0, last: int = 1000
    ) -> Sequence[PastEvent]:
        """See ModelsApi."""
        record = self._multi_model(endpoint)
        return await self._history.events(record.uid, model=model, since_s=since_s, last=last)

    async def came(
        self, endpoint: str, variant: str, *, start_s: int, end_s: int, most: int = 3600
    ) -> Sequence[CameRow]:
        """See ModelsApi."""
        return await self._history.came(self._store.get_endpoint(endpoint).uid, variant, start_s, end_s, most)

    def settings(self, endpoint: str) -> Sequence[ModelSetting]:
        """See ModelsApi."""
        environment = _environment(self._multi_model(endpoint))
        return merged(environment, self._store.hosting.settings(endpoint))

    def set(self, endpoint: str, setting: ModelSetting) -> None:
        """See ModelsApi."""
        record = self._multi_model(endpoint)
        check_setting(setting)
        self._store.hosting.save_setting(endpoint, setting)
        self._spread(record.endpoint.name)

    def unset(self, endpoint: str, model: str) -> None:
        """See ModelsApi."""
        record = self._multi_model(endpoint)
        self._store.hosting.delete_setting(endpoint, model)
        self._spread(record.endpoint.name)

    def _spread(self, endpoint: str) -> None:
        self._telling.tell(endpoint)
        self._changed(endpoint)

    def _multi_model(self, endpoint: str) -> EndpointRecord:
        record = self._store.get_endpoint(endpoint)
        if not record.multi_model:
            raise Invalid(
                f"The endpoint {record.endpoint.name!r} is not a multi-model endpoint: each of its replicas holds one "
                "model. Models of an endpoint can be listed and set when its container has Mode=MultiModel."
            )
        return record


def _environment(record: EndpointRecord) -> Mapping[str, str]:
    """What the multi-model containers of an endpoint say about models; of several, what takes traffic now says it."""
    said: dict[str, str] = {}
    for deployment in reversed(record.deployments):
        for variant in reversed(deployment.variants):
            if variant.container.multi_model:
                said |= variant.container.environment
    return said
