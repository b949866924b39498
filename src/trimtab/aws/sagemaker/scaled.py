"""What autoscaling has to do when an endpoint is deleted."""

from __future__ import annotations

from trimtab.control.scaling.api import ScalingApi
from trimtab.errors import NotFound
from trimtab.resources.names import key_of


def forget(scaling: ScalingApi, endpoint: str) -> None:
    """An endpoint is being deleted: AWS deregisters its targets."""
    for target in scaling.targets():
        if target.managed or key_of(target.endpoint) != key_of(endpoint):
            continue
        try:
            scaling.deregister(target.endpoint, target.variant, target.dimension)
        except NotFound:
            continue  # control was quicker
