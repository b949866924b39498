"""Policies and scheduled actions of an endpoint in a scenario."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

import msgspec

from trimtab.errors import Invalid, TrimtabError
from trimtab.metrics.names import ENDPOINT, INSTANCES, TRIMTAB, VARIANT
from trimtab.policies.scaling.schedule import check
from trimtab.policies.scaling.windows import windows_of
from trimtab.resources.metric_query import MetricStat
from trimtab.resources.scaling import (
    SIGNAL_1S,
    SIGNAL_10S,
    SIGNAL_EVENT,
    ScalingPolicy,
    ScheduledAction,
    TargetTracking,
)
from trimtab.sim.scenario.declared import ActionIn, EventIn, PolicyIn, TrackingIn
from trimtab.sim.scenario.document import Document, Path_

VARIANT_NAME: Final = "AllTraffic"

PolicyReader = Callable[[bytes, str, str, str], ScalingPolicy]
"""Makes a policy of JSON as PutScalingPolicy takes it (`aws.autoscaling.declared.policy_of`): for endpoint, variant and
policy of these names."""

_PREDEFINED: Final = {
    "invocations": "SageMakerVariantInvocationsPerInstance",
    "concurrency": "SageMakerVariantConcurrentRequestsPerModelHighResolution",
}
_CUSTOM: Final = {
    "concurrency-10s": (TRIMTAB, SIGNAL_10S, 10),
    "concurrency-1s": (TRIMTAB, SIGNAL_1S, 1),
    "utilization": (TRIMTAB, "Utilization", 60),
    "cpu": (INSTANCES, "CPUUtilization", 60),
}


def policy_of(
    document: Document, path: Path_, declared: PolicyIn, endpoint: str, number: int, read: PolicyReader | None
) -> ScalingPolicy:
    """The policy that the `number`th entry of an endpoint's policies declares. Raises Invalid."""
    given = [way for way in ("event", "tracking", "aws", "file") if getattr(declared, way) not in (None, "")]
    if len(given) != 1:
        raise document.fault(path, "a policy is exactly one of event, tracking, aws, file.")
    name = f"{given[0]}-{number + 1}"
    if given[0] in ("aws", "file"):
        return _read(document, (*path, given[0]), declared, (endpoint, name), read)
    if declared.event is not None:
        tracking = _event(document, (*path, "event"), declared.event, endpoint)
    else:
        assert declared.tracking is not None
        tracking = _tracking(document, (*path, "tracking"), declared.tracking, endpoint)
    return ScalingPolicy(
        name=name, arn=f"policy:{endpoint}/{name}", endpoint=endpoint, variant=VARIANT_NAME, created_s=0.0,
        tracking=tracking,
    )  # fmt: skip


def _read(
    document: Document, path: Path_, declared: PolicyIn, names: tuple[str, str], read: PolicyReader | None
) -> ScalingPolicy:
    endpoint, name = names
    if read is None:
        raise document.fault(path, "policies in AWS's form cannot be read here: use event or tracking.")
    try:
        told = declared.aws
        if declared.file:
            told = msgspec.json.decode((document.folder / declared.file).read_bytes())
        policy = read(msgspec.json.encode(_of_here(told, endpoint)), endpoint, VARIANT_NAME, name)
    except OSError as error:
        raise document.fault(path, f"{declared.file} cannot be read: {error.strerror}.") from error
    except (TrimtabError, msgspec.DecodeError) as error:
        raise document.fault(path, str(error)) from error
    if policy.step is not None:
        raise document.fault(path, "a step policy acts on alarms of its own, which a scenario does not have.")
    return msgspec.structs.replace(policy, arn=f"policy:{endpoint}/{name}")


def _of_here(told: Any, endpoint: str) -> Any:
    """A policy as it was declared for another endpoint's metrics, or under another name, is for this one's here."""
    if isinstance(told, list):
        return [_of_here(one, endpoint) for one in told]
    if not isinstance(told, dict):
        return told
    own = {ENDPOINT: endpoint, VARIANT: VARIANT_NAME}.get(str(told.get("Name")))
    return {name: own if own and name == "Value" else _of_here(value, endpoint) for name, value in told.items()}


def _event(document: Document, path: Path_, declared: EventIn, endpoint: str) -> TargetTracking:
    given = {
        "StableWindowSeconds": declared.stable,
        "PanicWindowSeconds": declared.panic,
        "HeadroomQuantile": declared.headroom,
        "PatienceSeconds": declared.patience,
    }
    settings = {name: f"{value:g}" for name, value in given.items() if value is not None}
    dimensions = tuple(sorted({ENDPOINT: endpoint, VARIANT: VARIANT_NAME, **settings}.items()))
    made = TargetTracking(
        target_value=_target(document, path, declared.target),
        stat=MetricStat(TRIMTAB, SIGNAL_EVENT, dimensions, 0, "Average"),
        scale_out_cooldown_s=0.0,
        scale_in_cooldown_s=float(declared.scale_in_cooldown),
        disable_scale_in=not declared.scale_in,
    )
    try:
        windows_of(made)
    except ValueError as error:
        raise document.fault(path, f"{error}.") from None
    return made


def _tracking(document: Document, path: Path_, declared: TrackingIn, endpoint: str) -> TargetTracking:
    stat = None
    if declared.on in _CUSTOM:
        namespace, name, period_s = _CUSTOM[declared.on]
        stat = MetricStat(namespace, name, ((ENDPOINT, endpoint), (VARIANT, VARIANT_NAME)), period_s, "Average")
    return TargetTracking(
        target_value=_target(document, path, declared.target),
        predefined=_PREDEFINED.get(declared.on, ""),
        stat=stat,
        scale_out_cooldown_s=float(declared.scale_out_cooldown),
        scale_in_cooldown_s=float(declared.scale_in_cooldown),
        disable_scale_in=not declared.scale_in,
    )


def _target(document: Document, path: Path_, target: float) -> float:
    if not (target > 0 and isfinite(target)):
        raise document.fault((*path, "target"), f"it must be a number above 0, not {target:g}.")
    return target


def action_of(
    document: Document, path: Path_, declared: ActionIn, endpoint: str, number: int, start_s: float
) -> ScheduledAction:
    """The scheduled action that the `number`th entry declares, made when the simulation starts. Raises Invalid."""
    low, high = declared.min, declared.max
    made = ScheduledAction(
        name=f"action-{number + 1}", arn=f"action:{endpoint}/{number + 1}", endpoint=endpoint, variant=VARIANT_NAME,
        schedule=declared.schedule, created_s=start_s, timezone=declared.timezone, min_capacity=low, max_capacity=high,
    )  # fmt: skip
    try:
        check(made, start_s)
    except Invalid as error:
        raise document.fault(path, str(error)) from None
    return made
