"""What autoscaling has to say when an endpoint is updated or deleted."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.control.api import ControlApi
from trimtab.control.scaling.api import ScalingApi
from trimtab.errors import Invalid, NotFound
from trimtab.resources.names import key_of
from trimtab.resources.scaling import ScalableTarget


def check_update(scaling: ScalingApi, control: ControlApi, endpoint: str, config_name: str) -> None:
    """Raises Invalid when the update removes a variant that a caller registered as a scalable target, or changes its
    instance type: on AWS, too, it must be deregistered first. Source: developer guide, "Automatic scaling"."""
    scaled = {key_of(target.variant): target.variant for target in _targets(scaling, endpoint)}
    if not scaled:
        return
    new = {key_of(spec.name): spec.instance_type for spec in control.get_endpoint_config(config_name).variants}
    old = _instance_types(control, endpoint)
    for key, variant in scaled.items():
        if key not in new:
            raise _refused(variant, endpoint, f"{config_name} does not have it")
        if key in old and old[key] != new[key]:
            raise _refused(variant, endpoint, f"{config_name} changes its instance type")


def forget(scaling: ScalingApi, endpoint: str) -> None:
    """An endpoint is being deleted: AWS deregisters its targets."""
    for target in _targets(scaling, endpoint):
        try:
            scaling.deregister(target.endpoint, target.variant, target.dimension)
        except NotFound:
            continue  # control was quicker


def _targets(scaling: ScalingApi, endpoint: str) -> Sequence[ScalableTarget]:
    return [t for t in scaling.targets() if not t.managed and key_of(t.endpoint) == key_of(endpoint)]


def _instance_types(control: ControlApi, endpoint: str) -> dict[str, str]:
    """By variant, of what serves; none when its configuration was deleted (the update is refused for that)."""
    try:
        config = control.get_endpoint_config(control.get_endpoint(endpoint).endpoint.config_name)
    except NotFound:
        return {}
    return {key_of(spec.name): spec.instance_type for spec in config.variants}


def _refused(variant: str, endpoint: str, why: str) -> Invalid:
    return Invalid(
        f'The variant "{variant}" of endpoint "{endpoint}" is registered as a scalable target, and the endpoint'
        f" configuration {why}. Deregister the scalable target endpoint/{endpoint}/variant/{variant} first"
        " (application-autoscaling DeregisterScalableTarget)."
    )
