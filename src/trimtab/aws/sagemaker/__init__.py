"""SageMaker's control plane: models, endpoint configurations, endpoints, tags."""

from __future__ import annotations

from trimtab.aws.paging import Pager
from trimtab.aws.registry import OperationHandler, handlers_of, merge
from trimtab.aws.sagemaker.endpoint_configs import EndpointConfigs
from trimtab.aws.sagemaker.endpoints import Endpoints
from trimtab.aws.sagemaker.models import Models
from trimtab.aws.sagemaker.tags import Tags
from trimtab.clock import Clock
from trimtab.control.api import ControlApi
from trimtab.control.scaling.api import ScalingApi


def sagemaker_handlers(
    control: ControlApi, clock: Clock, pager: Pager, scaling: ScalingApi | None = None
) -> dict[str, dict[str, OperationHandler]]:
    """The handlers of every SageMaker control-plane operation that trimtab serves, for the Dispatcher.

    `scaling` knows the scalable targets, which updates must respect and which end with their endpoint.
    """
    return merge(
        handlers_of(Models(control, clock, pager)),
        handlers_of(EndpointConfigs(control, clock, pager)),
        handlers_of(Endpoints(control, pager, scaling)),
        handlers_of(Tags(control, pager)),
    )
