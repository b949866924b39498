"""From a deployment and its ready replicas to an endpoint's route. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.control.fleet import Fleet
from trimtab.control.seen import Seen
from trimtab.policies.models.settings import hosting_of, merged
from trimtab.resources.asynchronous import MAX_INPUT_BYTES, MAX_TASK_TIMEOUT_S
from trimtab.resources.deployment import Deployment
from trimtab.resources.endpoint import VariantState
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.model import Container
from trimtab.resources.replica import ReplicaStatus
from trimtab.resources.routing import EndpointRoute, HostedRoute, Lane, VariantRoute


def build_route(
    name: str, deployment: Deployment, sizes: Sequence[VariantState], fleet: Fleet, seen: Seen
) -> EndpointRoute:
    """The route of endpoint `name` when `deployment` takes its traffic: a lane per model server of a ready replica.

    A variant without ready replicas keeps its place, without lanes: its requests wait in the gateway. One that is to
    have none always signals, as those in `seen.signals` do: control must hear of the request that wakes it.
    """
    settings = seen.settings
    weights = {state.name: state.desired_weight for state in sizes}
    variants = tuple(
        VariantRoute(
            name=crew.demand.name,
            weight=weights[crew.demand.name],
            lanes=tuple(lane for replica in sorted(crew.ready, key=lambda r: r.id) for lane in _lanes(replica)),
            container=crew.demand.variant.container.hostname or "primary",
            version=deployment.config_name,
            max_payload_bytes=settings.max_payload_bytes if deployment.asynchronous is None else MAX_INPUT_BYTES,
            timeout_s=settings.timeout_s if deployment.asynchronous is None else MAX_TASK_TIMEOUT_S,
            hosting=_hosting(crew.demand.variant.container, seen.model_settings),
            signals=crew.demand.count == 0 or crew.demand.name in seen.signals,
        )
        for crew in fleet.crews_of(deployment)
    )
    uid = seen.record.uid if seen.record is not None else ""
    return EndpointRoute(name=name, variants=variants, uid=uid, asynchronous=deployment.asynchronous)


def _hosting(container: Container, since: Sequence[ModelSetting]) -> HostedRoute | None:
    hosting = hosting_of(container)
    if hosting is None:
        return None
    return HostedRoute(prefix=hosting.prefix, cache=hosting.cache, settings=merged(container.environment, since))


def _lanes(replica: ReplicaStatus) -> list[Lane]:
    return [
        Lane(
            replica_id=replica.id,
            address=address,
            wire=replica.wire,
            concurrency=replica.concurrency,
            batch_size=replica.batch_size,
        )
        for address in replica.addresses
    ]
