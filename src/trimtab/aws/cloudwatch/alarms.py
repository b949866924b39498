"""The alarm operations, on control's Alarms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from trimtab.aws.arns import partition_of
from trimtab.aws.cloudwatch.alarm_shapes import alarm_of, composite_of, described
from trimtab.aws.cloudwatch.shapes import dimensions_of
from trimtab.aws.cloudwatch.words import bad_combination, invalid, listing_of, paged
from trimtab.aws.paging import Pager
from trimtab.aws.registry import AwsError, Call, operation
from trimtab.aws.sagemaker.tags import tags_of
from trimtab.control.alarms import Alarms
from trimtab.errors import Invalid, NotFound
from trimtab.policies.composite import parse_rule
from trimtab.resources.alarm import Alarm, AlarmState

_PAGE: Final = 50  # AWS: DescribeAlarms without MaxRecords
_MAX_TAGS: Final = 50


class AlarmOperations:
    """Alarms: put, described, deleted, set, switched; and their tags."""

    def __init__(self, alarms: Alarms, pager: Pager) -> None:
        self._alarms = alarms
        self._pager = pager

    @operation(
        "cloudwatch",
        "PutMetricAlarm",
        missing="Actions are recorded in the alarm's history, which says why they could not be carried out. Refused: "
        "anomaly detection (ThresholdMetricId), PromQL (EvaluationCriteria), WallClockWindow, warm-up periods, "
        "ActionConfiguration. Period 1 is trimtab's own: such alarms are evaluated every second",
    )
    def put_metric_alarm(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Make an alarm, or configure it anew."""
        self._put(alarm_of(params, _tags(params)))
        return {}

    @operation(
        "cloudwatch", "PutCompositeAlarm", missing="ActionsSuppressor and ActionConfiguration are refused; no AT_LEAST"
    )
    def put_composite_alarm(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Make an alarm over other alarms, or configure it anew."""
        alarm = composite_of(params, _tags(params))
        children = parse_rule(alarm.rule).children
        if missing := [name for name in children if name != alarm.name and self._alarms.find(name) is None]:
            raise invalid(
                f"Could not save the composite alarm as alarms [{', '.join(missing)}] in the alarm rule do not exist"
            )
        self._put(alarm)
        return {}

    @operation(
        "cloudwatch",
        "DescribeAlarms",
        missing="There are no log alarms: asking for them finds none",
    )
    def describe_alarms(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page of alarms, by name."""
        if params.get("AlarmNames") and params.get("AlarmNamePrefix"):
            raise bad_combination("AlarmNames and AlarmNamePrefix are mutually exclusive.")
        page, token = paged(
            lambda: self._pager.page(
                (alarm for alarm in self._relatives(params) if _wanted(alarm, params)),
                listing=listing_of(call, params),
                place=lambda alarm: (alarm.name,),
                descending=False,
                limit=params.get("MaxRecords", _PAGE),
                token=params.get("NextToken", ""),
            )
        )
        answer: dict[str, Any] = {
            "MetricAlarms": [self._summary(call, alarm, params) for alarm in page if not alarm.rule],
            "CompositeAlarms": [self._summary(call, alarm, params) for alarm in page if alarm.rule],
        }
        return {**answer, **({"NextToken": token} if token else {})}

    @operation("cloudwatch", "DescribeAlarmsForMetric")
    def describe_alarms_for_metric(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """The alarms on exactly this metric; alarms on expressions are not among them (AWS)."""
        dimensions = dimensions_of(params)
        found = []
        for alarm in self._alarms.list():
            stat = alarm.watched.stat if alarm.watched is not None else None
            if stat is None or (stat.namespace, stat.name, stat.dimensions) != (
                params["Namespace"], params["MetricName"], dimensions
            ):  # fmt: skip
                continue
            asked = (
                params.get("Statistic") or params.get("ExtendedStatistic"),
                params.get("Period"),
                params.get("Unit"),
            )
            if all(
                want in (None, have) for want, have in zip(asked, (stat.stat, stat.period_s, stat.unit), strict=True)
            ):
                found.append(self._described(call, alarm))
        return {"MetricAlarms": found}

    @operation("cloudwatch", "DeleteAlarms")
    def delete_alarms(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """All of them or, when one is not there, none."""
        self._alarms.delete(params["AlarmNames"])
        return {}

    @operation("cloudwatch", "SetAlarmState")
    async def set_alarm_state(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Bring an alarm into a state, until its next evaluation."""
        data = params.get("StateReasonData", "")
        if data:
            try:
                msgspec.json.decode(data)
            except (msgspec.DecodeError, RecursionError):
                raise AwsError("InvalidFormat", "StateReasonData must be JSON.") from None
        self._alarms.set_state(params["AlarmName"], AlarmState(params["StateValue"]), params["StateReason"], data)
        return {}

    @operation("cloudwatch", "EnableAlarmActions")
    def enable_alarm_actions(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Let alarms act again."""
        self._alarms.enable_actions(params["AlarmNames"], enabled=True)
        return {}

    @operation("cloudwatch", "DisableAlarmActions")
    def disable_alarm_actions(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Keep alarms from acting."""
        self._alarms.enable_actions(params["AlarmNames"], enabled=False)
        return {}

    @operation("cloudwatch", "ListTagsForResource", missing="Of alarms")
    def list_tags(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """An alarm's tags, by key."""
        tags = self._tagged(call, params).tags
        return {"Tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]}

    @operation("cloudwatch", "TagResource", missing="Of alarms")
    def tag_resource(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Add or overwrite tags."""
        alarm = self._tagged(call, params)
        tags = {**alarm.tags, **_tags(params)}
        if len(tags) > _MAX_TAGS:
            raise AwsError("InvalidParameterValue", f"A resource may have {_MAX_TAGS} tags, not {len(tags)}.")
        self._alarms.set_tags(alarm.name, tags)
        return {}

    @operation("cloudwatch", "UntagResource", missing="Of alarms")
    def untag_resource(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Remove tags; keys that are not there do no harm."""
        alarm = self._tagged(call, params)
        self._alarms.set_tags(alarm.name, {k: v for k, v in alarm.tags.items() if k not in params["TagKeys"]})
        return {}

    def _tagged(self, call: Call, params: Mapping[str, Any]) -> Alarm:
        prefix, arn = alarm_arn(call, ""), params["ResourceARN"]
        try:
            if arn.startswith(prefix):
                return self._alarms.get(arn.removeprefix(prefix))
        except NotFound:
            pass
        raise AwsError("ResourceNotFoundException", f"There is no alarm {arn[:300]!r} here.", 404)

    def _put(self, alarm: Alarm) -> None:
        known = self._alarms.find(alarm.name)
        if known is not None and known.kind != alarm.kind:
            raise invalid(f"There is a {known.kind} named {alarm.name!r} already; delete it first.")
        self._alarms.put(alarm)

    def _relatives(self, params: Mapping[str, Any]) -> Iterable[Alarm]:
        """Children or parents of an alarm, when that is what is asked for; else all alarms."""
        every = self._alarms.list()
        others = params.keys() - {"MaxRecords", "NextToken"}
        for member in ("ChildrenOfAlarmName", "ParentsOfAlarmName"):
            if member in params and len(others) > 1:
                raise invalid(f"With {member}, only MaxRecords and NextToken may be given.")
        if "ChildrenOfAlarmName" in params:
            parent = self._alarms.get(params["ChildrenOfAlarmName"])
            children = parse_rule(parent.rule).children if parent.rule else ()
            return [alarm for alarm in every if alarm.name in children]
        if "ParentsOfAlarmName" in params:
            child = params["ParentsOfAlarmName"]
            return [alarm for alarm in every if alarm.rule and child in parse_rule(alarm.rule).children]
        return every

    def _summary(self, call: Call, alarm: Alarm, params: Mapping[str, Any]) -> dict[str, Any]:
        """What DescribeAlarms says of an alarm: of relatives, names and states only (AWS)."""
        whole = self._described(call, alarm)
        if "ChildrenOfAlarmName" in params:
            return {key: whole[key] for key in ("AlarmName", "AlarmArn", "StateValue", "StateUpdatedTimestamp")}
        if "ParentsOfAlarmName" in params:
            return {key: whole[key] for key in ("AlarmName", "AlarmArn")}
        return whole

    def _described(self, call: Call, alarm: Alarm) -> dict[str, Any]:
        return described(alarm, alarm_arn(call, alarm.name), failing=alarm.name in self._alarms.failing)


def alarm_arn(call: Call, name: str) -> str:
    """AlarmArn."""
    return f"arn:{partition_of(call.region)}:cloudwatch:{call.region}:{call.account}:alarm:{name}"


def _tags(params: Mapping[str, Any]) -> dict[str, str]:
    try:
        return tags_of(params)
    except Invalid as error:
        raise AwsError("InvalidParameterValue", str(error)) from None


def _wanted(alarm: Alarm, params: Mapping[str, Any]) -> bool:
    if "ChildrenOfAlarmName" in params or "ParentsOfAlarmName" in params:
        return True
    if alarm.kind not in (params.get("AlarmTypes") or ("MetricAlarm",)):
        return False
    if params.get("AlarmNames") and alarm.name not in params["AlarmNames"]:
        return False
    if params.get("StateValue", alarm.state.value) != alarm.state.value:
        return False
    if prefix := params.get("ActionPrefix"):
        actions = (*alarm.ok_actions, *alarm.alarm_actions, *alarm.insufficient_data_actions)
        if not any(action.startswith(prefix) for action in actions):
            return False
    return alarm.name.startswith(params.get("AlarmNamePrefix", ""))
