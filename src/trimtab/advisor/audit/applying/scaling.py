"""Calls to Application Auto Scaling and to an endpoint's instance counts that can be carried out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trimtab.advisor.audit.applying.change import Answer, Change, Operation
from trimtab.advisor.finding import Call

_SERVICE: Final = "application-autoscaling"
_TARGET: Final = ("ServiceNamespace", "ResourceId", "ScalableDimension")
_POLICY: Final = ("PolicyType", "TargetTrackingScalingPolicyConfiguration", "StepScalingPolicyConfiguration")


def _of(call: Call, *names: str) -> dict[str, Any]:
    return {name: call.parameters[name] for name in names if name in call.parameters}


# --- register_scalable_target ---------------------------------------------------------------------------------------


def _read_target(call: Call) -> Call:
    asked = call.parameters
    parameters = _of(call, "ServiceNamespace", "ScalableDimension") | {"ResourceIds": [asked["ResourceId"]]}
    return Call(service=_SERVICE, operation="describe_scalable_targets", parameters=parameters)


def _target(call: Call, answer: Answer | None) -> Change:
    found = (answer or {}).get("ScalableTargets") or []
    wanted = _of(call, "MinCapacity", "MaxCapacity")
    if not found:
        undo = Call(service=_SERVICE, operation="deregister_scalable_target", parameters=_of(call, *_TARGET))
        note = "Deregistering also deletes the target's policies and scheduled actions."
        return Change(call=call, is_done=False, before="nothing scales it", undo=(undo,), undo_note=note)
    now = found[0]
    held = {name: now[name] for name in ("MinCapacity", "MaxCapacity")}
    before = f"it scales between {held['MinCapacity']} and {held['MaxCapacity']}"
    suspended = now.get("SuspendedState")
    is_done = all(held[name] == value for name, value in wanted.items()) and (
        "SuspendedState" not in call.parameters or _covers(suspended, call.parameters["SuspendedState"])
    )
    parameters = _of(call, *_TARGET) | held | ({"SuspendedState": suspended} if suspended else {})
    undo = Call(service=_SERVICE, operation="register_scalable_target", parameters=parameters)
    return Change(call=call, is_done=is_done, before=before, undo=(undo,))


# --- put_scaling_policy ---------------------------------------------------------------------------------------------


def _read_policy(call: Call) -> Call:
    parameters = _of(call, *_TARGET) | {"PolicyNames": [call.parameters["PolicyName"]]}
    return Call(service=_SERVICE, operation="describe_scaling_policies", parameters=parameters)


def _policy(call: Call, answer: Answer | None) -> Change:
    found = (answer or {}).get("ScalingPolicies") or []
    if not found:
        parameters = _of(call, *_TARGET, "PolicyName")
        undo = Call(service=_SERVICE, operation="delete_scaling_policy", parameters=parameters)
        return Change(call=call, is_done=False, before="there is no policy of this name", undo=(undo,))
    now = found[0]
    held = {name: now[name] for name in _POLICY if name in now}
    undo = Call(service=_SERVICE, operation="put_scaling_policy", parameters=_of(call, *_TARGET, "PolicyName") | held)
    return Change(
        call=call, is_done=_covers(held, _of(call, *_POLICY)), before=f"the policy is {_told(held)}", undo=(undo,)
    )


def _told(held: Mapping[str, Any]) -> str:
    tracking = held.get("TargetTrackingScalingPolicyConfiguration")
    if tracking is None:
        return "a step scaling policy"
    cooldowns = "".join(
        f", scale-{way} cooldown {tracking[name]} s"
        for way, name in (("in", "ScaleInCooldown"), ("out", "ScaleOutCooldown"))
        if name in tracking
    )
    return f"target tracking of {tracking['TargetValue']:g}{cooldowns}"


def _covers(held: Any, wanted: Any) -> bool:
    """Whether all that is wanted is held; what is held besides are defaults that AWS filled in."""
    if isinstance(wanted, Mapping):
        return isinstance(held, Mapping) and all(_covers(held.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return (
            isinstance(held, list | tuple)
            and len(held) == len(wanted)
            and all(_covers(ours, theirs) for ours, theirs in zip(held, wanted, strict=True))
        )
    return bool(held == wanted)


# --- update_endpoint_weights_and_capacities -------------------------------------------------------------------------


def _read_endpoint(call: Call) -> Call:
    return Call(service="sagemaker", operation="describe_endpoint", parameters=_of(call, "EndpointName"))


def _counts(answer: Answer | None) -> dict[str, int]:
    """Instances by variant: those that are being made count, too."""
    return {
        variant["VariantName"]: variant.get("DesiredInstanceCount", variant.get("CurrentInstanceCount", 0))
        for variant in (answer or {}).get("ProductionVariants", ())
    }


def _wanted_counts(call: Call) -> dict[str, int]:
    return {
        variant["VariantName"]: variant["DesiredInstanceCount"]
        for variant in call.parameters["DesiredWeightsAndCapacities"]
        if "DesiredInstanceCount" in variant
    }


def _capacities(call: Call, answer: Answer | None) -> Change:
    held, wanted = _counts(answer), _wanted_counts(call)
    before = ", ".join(f"{name} has {held.get(name, 0)}" for name in wanted)
    back = [{"VariantName": name, "DesiredInstanceCount": held[name]} for name in wanted if name in held]
    parameters = _of(call, "EndpointName") | {"DesiredWeightsAndCapacities": back}
    undo = Call(service="sagemaker", operation=call.operation, parameters=parameters)
    is_done = all(held.get(name) == count for name, count in wanted.items())
    return Change(call=call, is_done=is_done, before=before, undo=(undo,))


def _fewer(call: Call, answer: Answer | None) -> str:
    held = _counts(answer)
    unknown = [name for name in _wanted_counts(call) if name not in held]
    if unknown:
        return f"the endpoint has no variant {unknown[0]}: it has changed since the audit"
    fewer = [name for name, count in _wanted_counts(call).items() if count < held[name]]
    return f"it takes instances away from {', '.join(fewer)}" if fewer else ""


OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    (_SERVICE, "register_scalable_target"): Operation(read=_read_target, change=_target),
    (_SERVICE, "put_scaling_policy"): Operation(
        read=_read_policy, change=_policy, absent=frozenset({"ObjectNotFoundException"})
    ),
    ("sagemaker", "update_endpoint_weights_and_capacities"): Operation(
        read=_read_endpoint, change=_capacities, danger=_fewer
    ),
}
