"""HostsWorld: control's side of model hosts, over a real store, objects, artifacts, history and metrics.

The engine is a fake, and hosts are `HostClient`s.
"""

from __future__ import annotations

import functools
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Self

from trimtab.clock import ManualClock
from trimtab.control.hosts.came import Came
from trimtab.control.hosts.files import Disk, Installed
from trimtab.control.hosts.history import History
from trimtab.control.hosts.metering import HostMeter
from trimtab.control.hosts.service import ModelHosts
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.objects.artifacts import ArtifactCache
from trimtab.objects.indexed import IndexedObjectStore, open_object_store
from trimtab.objects.leases import Leases
from trimtab.resources.deployment import DeployedVariant, Deployment, EndpointRecord
from trimtab.resources.endpoint import Endpoint, EndpointStatus, VariantState
from trimtab.resources.endpoint_config import VariantSpec
from trimtab.resources.model import Artifact, Container, Model
from trimtab.resources.replica import ReplicaState, ReplicaStatus, Wire
from trimtab.resources.runtime import Runtime, RuntimeKind
from trimtab.store.sqlite import open_sqlite
from trimtab.testing import waiting
from trimtab.testing.engine import FakeEngine
from trimtab.testing.host_client import HostClient
from trimtab.wire.hosting import HostHello

PREFIX = "s3://models/fraud/"
BOUND_S = 10.0


until = functools.partial(waiting.until, limit_s=BOUND_S)


def hosting_record(
    name: str = "fraud",
    uid: str = "uid1",
    *,
    kind: RuntimeKind = RuntimeKind.PYTHON,
    multi_model: bool = True,
    **environment: str,
) -> EndpointRecord:
    """An endpoint with one multi-model variant `main` that serves models below `PREFIX`."""
    container = Container(
        image="i", multi_model=multi_model, artifact=Artifact(url=PREFIX, compressed=False), environment=environment
    )
    variant = DeployedVariant(
        spec=VariantSpec(name="main", model_name="many"),
        model=Model(name="many", created_s=0.0, containers=(container,)),
        runtime=Runtime(kind=kind),
    )
    endpoint = Endpoint(
        name=name, created_s=0.0, modified_s=0.0, status=EndpointStatus.IN_SERVICE, config_name="c",
        variants=(VariantState(name="main", desired_count=1, desired_weight=1.0),),
    )  # fmt: skip
    serving = Deployment(config_name="c", generation=1, variants=(variant,))
    return EndpointRecord(endpoint=endpoint, uid=uid, serving=serving, generations=1)


class HostsWorld:
    """See the module. `restart` is a new control over what the old one left; hosts connect to it anew."""

    def __init__(self, folder: Path, *, cache_bytes: int = 2**30) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.cache_bytes = cache_bytes
        self.socket = folder / "hosts.sock"
        self.store = open_sqlite(folder / "trimtab.db", synchronous="OFF")
        self.engine = FakeEngine(self.clock)
        self.installs: list[Path] = []
        self.install_fails: Exception | None = None
        self.woken: list[str] = []  # endpoints whose routes are to be made anew
        self.hosts: list[HostClient] = []

    async def __aenter__(self) -> Self:
        self.objects: IndexedObjectStore = open_object_store(self.folder / "objects", self.clock)
        await self.objects.start()
        await self.objects.create_bucket("models", region="us-east-1")
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for host in self.hosts:
            await host.leave()
        await self.stop()
        await self.objects.close()
        self.store.close()

    async def start(self) -> None:
        """A control begins."""
        self.parts = AsyncExitStack()
        self.metrics = SqliteMetricStore(self.folder / "metrics.db", self.clock, commit_every_s=0.02)
        self.parts.callback(self.metrics.close)
        self.artifacts = ArtifactCache(
            self.objects, self.folder / "artifacts", self.clock,
            max_unpacked_bytes=2**30, max_cache_bytes=self.cache_bytes,
        )  # fmt: skip
        self.parts.push_async_callback(self.artifacts.close)
        await self.artifacts.start()
        leases = Leases(self.artifacts)
        self.history = History(self.folder / "loads.db", self.clock)
        self.parts.push_async_callback(self.history.close)
        self.came = Came(self.history, lambda endpoint: self.store.get_endpoint(endpoint).uid)
        self.parts.push_async_callback(self.came.close)
        self.models = ModelHosts(
            self.socket,
            store=self.store,
            engine=self.engine,
            disk=Disk(fetch=leases.fetch, adopt=leases.adopt, install=self._install),
            there=lambda url: self.objects.holds(url, True),
            digest_of=self.artifacts.digest_of,
            history=self.history,
            meter=HostMeter(self.metrics, self.clock),
            changed=self.woken.append,
            clock=self.clock,
        )
        self.parts.push_async_callback(self.models.close)
        self.objects.watch(self.models.object_changed)
        await self.models.open()

    async def stop(self) -> None:
        """Control ends."""
        await self.parts.aclose()

    async def restart(self) -> None:
        """Another control takes over."""
        await self.stop()
        await self.start()

    async def _install(self, requirements: Path, timeout_s: float) -> Installed:
        self.installs.append(requirements)
        if self.install_fails is not None:
            raise self.install_fails
        return SimpleNamespace(path=self.folder / "layer", replaces=("numpy 1 (trimtab has 2)",))

    def endpoint(self, name: str = "fraud", uid: str = "uid1", **more: object) -> EndpointRecord:
        """A multi-model endpoint in the store (`hosting_record`)."""
        return self.store.add_endpoint(hosting_record(name, uid, **more), {})  # type: ignore[arg-type]

    def replica(
        self, number: int = 0, state: ReplicaState = ReplicaState.READY, *, of: str = "uid1-1", endpoint: str = "fraud"
    ) -> str:
        """A replica as the engine lists it from now on; its id."""
        id = f"{of}-{number}"
        status = ReplicaStatus(id=id, endpoint=endpoint, variant="main", version="c", state=state, wire=Wire.MODELS)
        self.engine.put(status)
        return id

    async def host(self, replica_id: str = "uid1-1-0", *holds: str, endpoint: str = "fraud") -> HostClient:
        """The host of a replica connects."""
        hello = HostHello(replica_id=replica_id, endpoint=endpoint, variant="main", prefix=PREFIX, holds=holds)
        made = await HostClient.connected(self.socket, hello)
        self.hosts.append(made)
        return made

    async def upload(self, model: str, data: bytes) -> str:
        """Put a model below the prefix; the digest that a fetch answers with."""
        await self.objects.put("models", f"fraud/{model}", data)
        return await self.artifacts.digest_of(f"{PREFIX}{model}")
