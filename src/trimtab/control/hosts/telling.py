"""Telling: what users have set, and what each replica is to hold unasked, to the hosts that it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from trimtab.control.hosts.server import Host
from trimtab.engines.engine import Engine
from trimtab.errors import NotFound
from trimtab.policies.models.placement import holds
from trimtab.policies.models.settings import merged
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.names import key_of
from trimtab.resources.replica import ReplicaState, ReplicaStatus, Wire
from trimtab.store.store import Store
from trimtab.wire.hosting import Settings

_COUNTED = (ReplicaState.STARTING, ReplicaState.READY)


class Telling:
    """A host is told when it has connected, and whenever what it was told last is not true any more: others' coming
    and going moves what it holds. On the event loop."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store = store
        self._engine = engine
        self._told: dict[Host, Settings] = {}
        self._seen: dict[str, frozenset[tuple[str, ReplicaState]]] = {}  # replicas that count, by endpoint
        self._looking = False
        self._closed = False

    def open(self) -> None:
        """Follow the engine."""
        self._engine.on_change(self._engine_changed)

    def close(self) -> None:
        """Follow it no more."""
        self._closed = True

    def joined(self, host: Host) -> None:
        """Tell a host, and those that it takes something from."""
        self._told[host] = Settings()
        self.tell(host.place[0])
        if self._told[host] == Settings():
            host.tell(Settings())

    def left(self, host: Host) -> None:
        """A host is not there any more. What it holds it holds: others take over once its replica has ended."""
        self._told.pop(host, None)

    def _engine_changed(self) -> None:
        """Called often, for in-flight counts too: look once per turn of the event loop."""
        if not self._looking and not self._closed:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        found: dict[str, set[tuple[str, ReplicaState]]] = {}
        for replica in self._engine.observe():
            if replica.state in _COUNTED:
                found.setdefault(key_of(replica.endpoint), set()).add((replica.id, replica.state))
        seen = {key: frozenset(replicas) for key, replicas in found.items()}
        changed = [key for key in seen.keys() | self._seen.keys() if seen.get(key) != self._seen.get(key)]
        self._seen = seen
        for key in changed:
            self.tell(key)

    def tell(self, endpoint: str) -> None:
        """Tell the hosts of an endpoint what they have not been told."""
        key = key_of(endpoint)
        hosts = {host.replica_id: host for host in self._told if key_of(host.place[0]) == key}
        if not hosts or (record := self._record(endpoint)) is None:
            return
        since = tuple(self._store.hosting.settings(endpoint))
        crews = _crews([r for r in self._engine.observe() if key_of(r.endpoint) == key], hosts.values())
        for crew, replicas in crews.items():
            mine = {replica_id: hosts[replica_id] for replica_id in replicas if replica_id in hosts}
            if mine:
                settings = settings_for(record, next(iter(mine)), crew[1], since)
                self._send(settings, holds(settings, replicas), mine)
        counted = {replica_id for replicas in crews.values() for replica_id in replicas}
        leaving = {replica_id: host for replica_id, host in hosts.items() if replica_id not in counted}
        for replica_id, host in leaving.items():
            self._send(settings_for(record, replica_id, host.place[1], since), {}, {replica_id: host})

    def _send(self, settings: tuple[ModelSetting, ...], held: dict[str, dict[str, str]], to: dict[str, Host]) -> None:
        for replica_id, host in to.items():
            new = Settings(settings=settings, hold=held.get(replica_id, {}))
            if new != self._told[host]:
                self._told[host] = new
                host.tell(new)

    def _record(self, endpoint: str) -> EndpointRecord | None:
        try:
            return self._store.get_endpoint(endpoint)
        except NotFound:
            return None


def settings_for(
    record: EndpointRecord, replica_id: str, variant: str, since: Iterable[ModelSetting]
) -> tuple[ModelSetting, ...]:
    """The settings in force in one replica; none for one that is not of what is deployed."""
    deployed = record.deployed(replica_id, variant)
    return merged(deployed.container.environment, since) if deployed is not None else ()


def _crews(replicas: Iterable[ReplicaStatus], hosts: Iterable[Host]) -> dict[tuple[str, str], list[str]]:
    """Replicas that share a variant's models, by deployment and variant: those that are ready, whether they have
    connected yet or not (else the first to come back to a new control would be told to hold everything), and those that
    start and have connected, so that what is pinned is there when they are ready."""
    connected = {host.replica_id for host in hosts}
    crews: dict[tuple[str, str], list[str]] = {}
    for replica in replicas:
        ready = replica.state is ReplicaState.READY and replica.wire is Wire.MODELS
        if ready or (replica.state is ReplicaState.STARTING and replica.id in connected):
            crews.setdefault((replica.id.rpartition("-")[0], replica.variant), []).append(replica.id)
    return crews
