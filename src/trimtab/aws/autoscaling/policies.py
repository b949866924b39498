"""PutScalingPolicy, DescribeScalingPolicies, DeleteScalingPolicy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from trimtab.aws.autoscaling.pages import page_of
from trimtab.aws.autoscaling.places import Place, chosen, described_place, missing, order_of, place_of
from trimtab.aws.autoscaling.predicting import predictive_of
from trimtab.aws.autoscaling.stepping import stepping_of
from trimtab.aws.autoscaling.targets import registered_place
from trimtab.aws.autoscaling.tracking import metric_of, tracking_of
from trimtab.aws.cloudwatch.alarms import alarm_arn
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.aws.sagemaker.documents import kept
from trimtab.control.scaling.api import ScalingApi
from trimtab.errors import Invalid, NotFound
from trimtab.resources.alarm import Alarm
from trimtab.resources.scaling import ScalingPolicy

AlarmList = Callable[[], Iterable[Alarm]]
_PAGE: Final = 10  # AWS: policies without MaxResults
_CONFIGURATIONS: Final = {
    "TargetTrackingScaling": "TargetTrackingScalingPolicyConfiguration",
    "StepScaling": "StepScalingPolicyConfiguration",
    "PredictiveScaling": "PredictiveScalingPolicyConfiguration",
}


class Policies:
    """The policies of scalable targets."""

    def __init__(self, scaling: ScalingApi, alarms: AlarmList, pager: Pager) -> None:
        self._scaling = scaling
        self._alarms = alarms
        self._pager = pager

    @operation(
        "application-autoscaling",
        "PutScalingPolicy",
        missing="Predefined metrics of variants: SageMakerVariantInvocationsPerInstance, "
        "SageMakerVariantConcurrentRequestsPerModelHighResolution and (of provisioned concurrency) "
        "SageMakerVariantProvisionedConcurrencyUtilization. Customized metrics ConcurrencyPerReplica1s, "
        "ConcurrencyPerReplica10s and ConcurrencyPerReplicaEvent of the namespace trimtab/Endpoints are trimtab's own: "
        "they are looked at every second, every ten seconds, and on every change. PredictiveScaling, which AWS has for "
        "ECS alone, takes one of these, or one customized scaling metric; load and capacity metrics are refused",
    )
    def put(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Make a policy, or configure it anew."""
        place, name = registered_place(self._scaling, place_of(params)), params["PolicyName"]
        others = [policy for policy in self._scaling.policies() if place.is_of(policy)]
        known = next((policy for policy in others if policy.name == name), None)
        policy = _policy(place, name, *_configuration(params, known))
        _check_unique(policy, others)
        saved = self._scaling.put_policy(policy)
        return {"PolicyARN": saved.arn, "Alarms": self._alarms_of(call, [saved])[saved.arn]}

    @operation("application-autoscaling", "DescribeScalingPolicies")
    def describe(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page of policies, by endpoint, variant and name; each as it was declared."""
        names = params.get("PolicyNames")
        managed = {order_of(target) for target in self._scaling.targets() if target.managed}
        wanted = (
            policy
            for policy in chosen(self._scaling.policies(), params)
            if (not names or policy.name in names) and order_of(policy) not in managed
        )
        page, token = page_of(
            self._pager, call, params, wanted, lambda policy: (*order_of(policy), policy.name), default=_PAGE
        )
        alarms = self._alarms_of(call, page)
        return {"ScalingPolicies": [_described(policy, alarms[policy.arn]) for policy in page], **token}

    @operation("application-autoscaling", "DeleteScalingPolicy")
    def delete(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Forget a policy, and the alarms that were made for it."""
        place, name = place_of(params), params["PolicyName"]
        try:
            self._scaling.delete_policy(place.endpoint, place.variant, place.dimension, name)
        except NotFound:
            raise missing("scaling-policy", "scaling policy found", place, f", policy name: {name}") from None
        return {}

    def _alarms_of(self, call: Call, policies: Iterable[ScalingPolicy]) -> dict[str, list[dict[str, str]]]:
        """The alarms of policies, by ARN: those that target tracking made, and of others those that name the policy."""
        found = {
            policy.arn: [{"AlarmName": alarm.name, "AlarmARN": alarm.arn} for alarm in policy.alarms]
            for policy in policies
        }
        for alarm in self._alarms():
            for action in {*alarm.ok_actions, *alarm.alarm_actions, *alarm.insufficient_data_actions}:
                said = {"AlarmName": alarm.name, "AlarmARN": alarm_arn(call, alarm.name)}
                if said not in found.get(action, [said]):
                    found[action].append(said)
        return found


def _configuration(params: Mapping[str, Any], known: ScalingPolicy | None) -> tuple[str, dict[str, Any]]:
    """The kind, and the configuration with what an update left out. Raises Invalid."""
    kind = params.get("PolicyType") or (known.kind if known is not None else "")
    if not kind:
        raise Invalid(f"PolicyType is required for a new policy: {', '.join(_CONFIGURATIONS)}.")
    member = _CONFIGURATIONS[kind]
    for other in _CONFIGURATIONS.values():
        if other != member and other in params:
            raise Invalid(f"{other} cannot be given for a policy of the type {kind}.")
    before = known.document if known is not None and known.kind == kind else {}
    if member not in params and not before:
        raise Invalid(f"You must specify {member} for a policy of the type {kind}.")
    if kind == "StepScaling":  # AWS: its members are required of new configurations only
        return kind, {**before, **params.get(member, {})}
    return kind, params.get(member, before)


def _policy(place: Place, name: str, kind: str, config: Mapping[str, Any]) -> ScalingPolicy:
    return ScalingPolicy(
        name=name,
        arn="",
        endpoint=place.endpoint,
        variant=place.variant,
        dimension=place.dimension,
        created_s=0.0,  # ARN, time and alarms are given where it is recorded
        tracking=tracking_of(config, place) if kind == "TargetTrackingScaling" else None,
        step=stepping_of(config) if kind == "StepScaling" else None,
        predictive=predictive_of(config, place) if kind == "PredictiveScaling" else None,
        document=kept(config),
    )


def _check_unique(policy: ScalingPolicy, others: list[ScalingPolicy]) -> None:
    if policy.tracking is None:
        return
    tracked = metric_of(policy.tracking)
    for other in others:
        if other.name != policy.name and other.tracking is not None and metric_of(other.tracking) == tracked:
            raise Invalid(  # AWS's words
                "Only one TargetTrackingScaling policy for a given metric specification is allowed. The policy"
                f" {other.name!r} has it."
            )


def _described(policy: ScalingPolicy, alarms: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "PolicyARN": policy.arn,
        "PolicyName": policy.name,
        **described_place(policy),
        "PolicyType": policy.kind,
        _CONFIGURATIONS[policy.kind]: policy.document,
        "Alarms": alarms,
        "CreationTime": policy.created_s,
    }
