"""Deployment: a config as it was rolled out, and the durable record of an endpoint that control plans from."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from trimtab.resources.asynchronous import AsyncSettings
from trimtab.resources.endpoint import Endpoint, VariantState
from trimtab.resources.endpoint_config import VariantSpec
from trimtab.resources.model import Container, Model
from trimtab.resources.runtime import Runtime


class DeployedVariant(Struct, frozen=True, kw_only=True):
    """One variant with everything that its replicas need, copied: its config and model may be deleted meanwhile."""

    spec: VariantSpec
    model: Model
    runtime: Runtime

    @property
    def container(self) -> Container:
        """The one container of the model (pipelines are refused when the model is made)."""
        return self.model.containers[0]


class Deployment(Struct, frozen=True, kw_only=True):
    """One roll-out of a config to an endpoint.

    `generation` is unique within the endpoint and grows: it tells a re-deployment of the same config from the first.
    """

    config_name: str
    generation: int
    variants: tuple[DeployedVariant, ...]
    document: dict[str, Any] = field(default_factory=dict)  # the call that asked for it, for Describe
    asynchronous: AsyncSettings | None = None


class Crash(Struct, frozen=True, kw_only=True):
    """A replica that ended although it was wanted. `quick`: it was never ready, or died as soon as it was."""

    replica_id: str
    generation: int
    variant: str
    at_s: float
    reason: str = ""
    quick: bool = True


class Scaling(Struct, frozen=True, kw_only=True):
    """A variant's change of count that autoscaling decided, until it is over.

    `least` is what the variant had been promised all the time: it is not scaled back below that when the change fails.
    `after` is the variant's last crash before it: those that follow speak of this change. `failure` is the one word why
    it failed ("" while it has not): what has come of it is kept.
    """

    variant: str
    wanted: int
    least: int
    after: str = ""
    why: str = ""
    detect_s: float = 0.0
    decided_monotonic_s: float | None = None
    failure: str = ""
    failure_text: str = ""


class EndpointRecord(Struct, frozen=True, kw_only=True):
    """All that is durable of one endpoint; with what engines and gateways report, all that control plans from.

    `serving` takes the traffic (None: nothing does, the endpoint has failed); `incoming` is what an update brings.
    `scaled_from` holds the sizes and weights before a caller's change of them under way, to go back to; `scalings` are
    autoscaling's changes under way, at most one for each variant.
    """

    endpoint: Endpoint
    uid: str  # begins the ids of all its replicas; unique for ever
    serving: Deployment | None = None
    incoming: Deployment | None = None
    generations: int = 0  # deployments so far
    scaled_from: tuple[VariantState, ...] = ()
    crashes: tuple[Crash, ...] = ()
    scalings: tuple[Scaling, ...] = ()

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """What takes the traffic, and what an update brings."""
        return tuple(deployment for deployment in (self.serving, self.incoming) if deployment is not None)

    @property
    def sizes(self) -> tuple[VariantState, ...]:
        """The sizes of what serves. After the switch of an update that is the new deployment, although Describe goes on
        showing the old config until the old replicas have gone, as AWS does."""
        endpoint = self.endpoint
        return endpoint.pending_variants if self.incoming is None and endpoint.pending_variants else endpoint.variants

    @property
    def multi_model(self) -> bool:
        """Whether replicas of any variant hold many models each."""
        return any(v.container.multi_model for deployment in self.deployments for v in deployment.variants)

    def deployed(self, replica_id: str, variant: str) -> DeployedVariant | None:
        """The variant that a replica is of; None when it is of none that is deployed now."""
        for deployment in self.deployments:
            if replica_id.startswith(replica_prefix(self.uid, deployment.generation)):
                return next((v for v in deployment.variants if v.spec.name == variant), None)
        return None

    def scaling_of(self, variant: str) -> Scaling | None:
        """Autoscaling's change of the variant's count, if one is under way."""
        return next((scaling for scaling in self.scalings if scaling.variant == variant), None)


def replica_prefix(uid: str, generation: int) -> str:
    """How the ids of a deployment's replicas begin. Short: sockets are named after replicas (107 bytes in all)."""
    return f"{uid}-{generation}-"
