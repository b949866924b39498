"""A scaling policy that was written down as PutScalingPolicy takes it, for those who try one before they put it."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from trimtab.aws.autoscaling.places import NAMESPACE, Place
from trimtab.aws.autoscaling.predicting import predictive_of
from trimtab.aws.autoscaling.stepping import stepping_of
from trimtab.aws.autoscaling.tracking import tracking_of
from trimtab.aws.protocols.jsonbody import parse
from trimtab.aws.protocols.validation import validate
from trimtab.aws.services import Shape, load
from trimtab.errors import Invalid
from trimtab.resources.scaling import VARIANT_COUNT, ScalingPolicy

_SERVICE: Final = "application-autoscaling"
_OPERATION: Final = "PutScalingPolicy"
_MEMBERS: Final = {
    "TargetTrackingScaling": "TargetTrackingScalingPolicyConfiguration",
    "StepScaling": "StepScalingPolicyConfiguration",
    "PredictiveScaling": "PredictiveScalingPolicyConfiguration",
}


def policy_of(body: bytes, endpoint: str, variant: str, name: str) -> ScalingPolicy:
    """The policy that JSON declares for a variant: PutScalingPolicy's parameters, or its configuration alone.

    Where, and the name, may be left out. Raises Invalid for what the call would refuse, and for members that it does
    not have.
    """
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"It is no JSON: {error}.") from error
    if not isinstance(document, dict):
        raise Invalid("A policy is a JSON object.")
    kind, config = _of_its_kind(document)
    where = {"ResourceId": f"endpoint/{endpoint}/variant/{variant}", "ScalableDimension": VARIANT_COUNT}
    call = {"ServiceNamespace": NAMESPACE, **where, "PolicyName": name, "PolicyType": kind, _MEMBERS[kind]: config}
    shape = load(_SERVICE, (_OPERATION,)).operations[_OPERATION].input
    assert shape is not None
    if strange := next(_strange(shape, call), ""):
        raise Invalid(strange)
    params = parse(shape, msgspec.json.encode(call))
    validate(shape, params)
    place, given = Place(endpoint, variant, VARIANT_COUNT), params[_MEMBERS[kind]]
    return ScalingPolicy(
        name=name,
        arn=f"policy:{name}",
        endpoint=endpoint,
        variant=variant,
        created_s=0.0,
        tracking=tracking_of(given, place) if kind == "TargetTrackingScaling" else None,
        step=stepping_of(given) if kind == "StepScaling" else None,
        predictive=predictive_of(given, place) if kind == "PredictiveScaling" else None,
    )


def _strange(shape: Shape, value: Any) -> Iterator[str]:
    """Members that the model does not have, which programs of AWS refuse, too."""
    if isinstance(value, dict) and shape.type == "structure":
        for name, inner in value.items():
            if name in shape.members:
                yield from _strange(shape.members[name].shape, inner)
            else:
                near = get_close_matches(str(name), shape.members, 1)
                hint = f" Did you mean {near[0]}?" if near else ""
                yield f"A policy has no {name}.{hint} There are {', '.join(shape.members)}."
    elif isinstance(value, list) and shape.element is not None:
        for inner in value:
            yield from _strange(shape.element.shape, inner)


def _of_its_kind(document: dict[str, Any]) -> tuple[str, Any]:
    found = [(kind, document[member]) for kind, member in _MEMBERS.items() if member in document]
    if len(found) > 1:
        raise Invalid("It has configurations of several kinds; a policy has one.")
    if found:
        return found[0]
    if "TargetValue" in document:
        return "TargetTrackingScaling", document
    if "AdjustmentType" in document or "StepAdjustments" in document:
        return "StepScaling", document
    if "MetricSpecifications" in document:
        return "PredictiveScaling", document
    raise Invalid(f"It has none of {', '.join(_MEMBERS.values())}, nor is it one of these.")
