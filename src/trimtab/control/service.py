"""Control: the control plane in one object. Takes intent (`ControlApi`), and makes it true in `run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trimtab.clock import Clock
from trimtab.control.api import ControlApi
from trimtab.control.intent import EndpointIntent, Floor, Scalable
from trimtab.control.loop import ControlLoop
from trimtab.control.observer import EnvironmentsSeen, ModelSettings, Observer, Signals
from trimtab.control.reconciler import Reconciler, Told
from trimtab.control.routes import RoutePublisher
from trimtab.control.seen import Settings
from trimtab.control.validate import check_config, check_model, check_on_demand, check_tags
from trimtab.engines.engine import Engine
from trimtab.errors import Invalid
from trimtab.resources.deployment import Scaling
from trimtab.resources.endpoint import Endpoint, EndpointView, Event
from trimtab.resources.endpoint_config import EndpointConfig
from trimtab.resources.model import Artifact, Model
from trimtab.resources.names import key_of
from trimtab.resources.replica import ReplicaStatus
from trimtab.resources.runtime import Runtime
from trimtab.resources.serverless import Serverless
from trimtab.store.store import Store

ResolveRuntime = Callable[[str, Mapping[str, str]], Runtime]  # (image, environment); Invalid when nothing serves it
ArtifactExists = Callable[[str, bool], bool]  # (url, compressed)
BucketExists = Callable[[str], bool]  # (url)


class Control(ControlApi):
    """Its calls are made from the event loop that `run` runs in.

    `open` before anything else; `run` until cancelled; `close` last. Closing stops no replica.
    """

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        publisher: RoutePublisher,
        clock: Clock,
        resolve_runtime: ResolveRuntime,
        artifact_exists: ArtifactExists,
        bucket_exists: BucketExists,
        settings: Settings = Settings(),  # noqa: B008 frozen
        told: Told = lambda endpoint, events: None,
        signals: Signals = lambda endpoint, variant: False,
        model_settings: ModelSettings = lambda endpoint: (),
        floor: Floor = lambda endpoint, variant: 1,
        scalable: Scalable = lambda endpoint, variant: False,
        environments: EnvironmentsSeen = lambda key, record, replicas: {},
    ) -> None:
        """`told` hears of each endpoint's events once they are recorded, and without events when a caller changes it.
        `signals`, `floor` and `scalable` are asked of an endpoint's variants, by their names; call `wake` when
        `signals` answers something else than before. `model_settings` are those of an endpoint's models that users have
        set; call `wake` when there are others, too. `environments` are those that serverless variants want."""
        self._store = store
        self._engine = engine
        self._publisher = publisher
        self._resolve_runtime = resolve_runtime
        self._artifact_exists = artifact_exists
        self._bucket_exists = bucket_exists
        self._clock = clock
        self._told = told
        self._intent = EndpointIntent(store, clock, resolve_runtime, floor, scalable)
        self.observer = Observer(store, engine, publisher.book, clock, settings, signals, model_settings, environments)
        self.reconciler = Reconciler(store, engine, publisher.book, self.observer, clock, told)
        self._loop = ControlLoop(store, engine, self.observer, self.reconciler, clock)
        publisher.book.on_settled = self._loop.wake

    async def open(self) -> None:
        """Adopt what runs and let gateways connect."""
        await self._engine.open()
        await self._publisher.open()

    async def run(self) -> None:
        """Make the store's intent true, until cancelled."""
        await self._loop.run()

    async def close(self) -> None:
        """Let go of engine, gateways and store. Replicas run on, gateways route on."""
        await self._publisher.close()
        await self._engine.close()
        self._store.close()

    # models

    def create_model(self, model: Model, tags: Mapping[str, str]) -> None:
        """See ControlApi."""
        check_model(model)
        check_tags(tags)
        for container in model.containers:
            self._resolve_runtime(container.image, container.environment)
            if container.artifact is not None and not self._is_there(container.artifact, container.multi_model):
                raise Invalid(f"Could not find model data at {container.artifact.url}.")  # AWS's words
        self._store.add_model(model, tags)

    def _is_there(self, artifact: Artifact, multi_model: bool) -> bool:
        """Models may be put below a multi-model container's prefix later: its bucket is there, that is enough."""
        if multi_model:
            return self._bucket_exists(artifact.url)
        return self._artifact_exists(artifact.url, artifact.compressed)

    def get_model(self, name: str) -> Model:
        """See ControlApi."""
        return self._store.get_model(name)

    def list_models(self) -> Sequence[Model]:
        """See ControlApi."""
        return self._store.list_models()

    def delete_model(self, name: str) -> None:
        """See ControlApi."""
        self._store.delete_model(name)

    # endpoint configs

    def create_endpoint_config(self, config: EndpointConfig, tags: Mapping[str, str]) -> None:
        """See ControlApi. Invalid when variants contradict each other."""
        check_config(config)
        check_tags(tags)
        for variant in config.variants:
            model = self._store.get_model(variant.model_name)
            if variant.serverless is not None:
                check_on_demand(model)
        self._store.add_config(config, tags)

    def get_endpoint_config(self, name: str) -> EndpointConfig:
        """See ControlApi."""
        return self._store.get_config(name)

    def list_endpoint_configs(self) -> Sequence[EndpointConfig]:
        """See ControlApi."""
        return self._store.list_configs()

    def delete_endpoint_config(self, name: str) -> None:
        """NotFound. Endpoints that run it go on: what is deployed was copied."""
        self._store.delete_config(name)

    # endpoints: recorded, then the loop is woken

    def create_endpoint(
        self, name: str, config_name: str, tags: Mapping[str, str], document: Mapping[str, Any]
    ) -> Endpoint:
        """See ControlApi."""
        check_tags(tags)
        return self._woken(self._intent.create(name, config_name, tags, document))

    def update_endpoint(
        self, name: str, config_name: str, *, retain_counts: bool, retain_weights: bool, document: Mapping[str, Any]
    ) -> Endpoint:
        """See ControlApi. The config in use is deployed again; a Failed endpoint is deployed anew."""
        updated = self._intent.update(
            name, config_name, retain_counts=retain_counts, retain_weights=retain_weights, document=document
        )
        return self._woken(updated)

    def update_weights_and_counts(
        self,
        name: str,
        weights: Mapping[str, float],
        counts: Mapping[str, int],
        serverless: Mapping[str, Serverless] = {},
    ) -> Endpoint:
        """See ControlApi."""
        return self._woken(self._intent.resize(name, weights, counts, serverless))

    def scale(
        self,
        name: str,
        variant: str,
        count: int,
        *,
        why: str,
        detect_s: float = 0.0,
        decided_monotonic_s: float | None = None,
    ) -> bool:
        """See ControlApi."""
        changed = self._intent.scale(
            name, variant, count, why=why, detect_s=detect_s, decided_monotonic_s=decided_monotonic_s
        )
        if changed:
            self.wake(name)
        return changed

    def scaling_of(self, name: str, variant: str) -> Scaling | None:
        """What `scale` began and is under way still; None when nothing is. Its end may have come, and `told` not have
        heard of it, when an earlier control died: ask this in the beginning. NotFound("endpoint")."""
        return self._store.get_endpoint(name).scaling_of(variant)

    def wake(self, name: str) -> None:
        """Plan the endpoint anew: something that it is planned by has changed (what `signals` answers, say)."""
        self._loop.wake(key_of(name))

    def get_endpoint(self, name: str) -> EndpointView:
        """See ControlApi."""
        endpoint = self._store.get_endpoint(name).endpoint
        key = key_of(name)
        return EndpointView(
            endpoint=endpoint,
            replicas=tuple(replica for replica in self._engine.observe() if key_of(replica.endpoint) == key),
            events=tuple(self._store.list_events(name)),
        )

    def get_events(self, name: str, *, last: int) -> Sequence[Event]:
        """See ControlApi."""
        return self._store.list_events(name, last=last)

    def list_replicas(self) -> Sequence[ReplicaStatus]:
        """See ControlApi."""
        return self._engine.observe()

    @property
    def room_s(self) -> float:
        """Wall time when a replica that had not failed last left the machine, and made room; 0: not seen."""
        return self.observer.freed_s

    def list_endpoints(self) -> Sequence[Endpoint]:
        """All, in no particular order."""
        return [record.endpoint for record in self._store.list_endpoints()]

    def delete_endpoint(self, name: str) -> None:
        """NotFound; InUse while a change is under way."""
        self._woken(self._intent.delete(name))

    def _woken(self, endpoint: Endpoint) -> Endpoint:
        self._told(endpoint.name, ())
        self._loop.wake(key_of(endpoint.name))
        return endpoint

    # tags

    def get_tags(self, kind: str, name: str) -> Mapping[str, str]:
        """See ControlApi."""
        return self._store.get_tags(kind, name)

    def add_tags(self, kind: str, name: str, tags: Mapping[str, str]) -> Mapping[str, str]:
        """See ControlApi."""
        merged = {**self._store.get_tags(kind, name), **tags}
        check_tags(merged)
        self._store.set_tags(kind, name, merged)
        return merged

    def delete_tags(self, kind: str, name: str, keys: Sequence[str]) -> None:
        """NotFound. Keys that are not there have no effect."""
        held = self._store.get_tags(kind, name)
        self._store.set_tags(kind, name, {key: value for key, value in held.items() if key not in keys})
