"""What control keeps: every file and folder of it, opened."""

from __future__ import annotations

from contextlib import AsyncExitStack

from msgspec import Struct

from trimtab.aws.keys import KeyRing
from trimtab.clock import Clock
from trimtab.config import Config
from trimtab.control.hosts.came import Came
from trimtab.control.hosts.history import History
from trimtab.control.scaling.journal import Journal
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.objects.artifacts import ArtifactCache
from trimtab.objects.indexed import IndexedObjectStore, open_object_store
from trimtab.objects.leases import Leases
from trimtab.store.sqlite import open_sqlite
from trimtab.store.store import Store


class Kept(Struct, frozen=True, kw_only=True):
    """`models`: the history of model loads; `came`: what it is told of single requests."""

    keys: KeyRing
    store: Store
    metrics: SqliteMetricStore
    journal: Journal
    models: History
    came: Came
    objects: IndexedObjectStore
    artifacts: ArtifactCache
    leases: Leases


async def keep(config: Config, clock: Clock, parts: AsyncExitStack) -> Kept:
    """Open them all; `parts` closes them, in the opposite order."""
    paths = config.paths
    metrics = SqliteMetricStore(paths.metrics, clock)
    parts.callback(metrics.close)
    store = open_sqlite(paths.database)
    journal = Journal(paths.scaling, clock)
    parts.callback(journal.close)
    models = History(paths.loads, clock)
    parts.push_async_callback(models.close)
    came = Came(models, lambda endpoint: store.get_endpoint(endpoint).uid)
    parts.push_async_callback(came.close)
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
    return Kept(
        keys=KeyRing(paths.keys),
        store=store,
        metrics=metrics,
        journal=journal,
        models=models,
        came=came,
        objects=objects,
        artifacts=artifacts,
        leases=Leases(artifacts),
    )
