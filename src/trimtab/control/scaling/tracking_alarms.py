"""The CloudWatch alarms that target tracking needs: made, changed, deleted, and made whole after a crash."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from trimtab.control.alarms import Alarms
from trimtab.control.scaling.arns import Arns
from trimtab.policies.scaling.tracking import TrackingAlarm, alarms_of
from trimtab.resources.alarm import Alarm
from trimtab.resources.metric_documents import watched_document
from trimtab.resources.scaling import PolicyAlarm, ScalingPolicy

_OURS: Final = ("TargetTracking-", "DO NOT EDIT OR DELETE. For TargetTrackingScaling policy ")


class TrackingAlarms:
    """A policy is saved with its alarms' names first; `put` then makes the alarms as that policy needs them.

    Both may be repeated: after a crash between the two, `mend` finishes what was begun.
    """

    def __init__(self, alarms: Alarms, arns: Arns) -> None:
        self._alarms = alarms
        self._arns = arns

    def named(self, policy: ScalingPolicy, known: Sequence[PolicyAlarm]) -> ScalingPolicy:
        """The policy with its alarms; those of `known` keep their names, as on AWS."""
        wanted = alarms_of(policy, *_ids(known))
        return replace(policy, alarms=tuple(PolicyAlarm(alarm.name, self._arns.alarm(alarm.name)) for alarm in wanted))

    def put(self, policy: ScalingPolicy) -> None:
        """Make or change its alarms; those that are as they should be stay untouched. LimitExceeded."""
        for wanted in alarms_of(policy, *_ids(policy.alarms)):
            known = self._alarms.find(wanted.name)
            alarm = _alarm(wanted, policy.arn)
            if known is None or not _same(known, alarm):
                self._alarms.put(alarm)

    def delete(self, alarms: Sequence[PolicyAlarm]) -> None:
        """Those that are there."""
        if names := [alarm.name for alarm in alarms if self._alarms.find(alarm.name) is not None]:
            self._alarms.delete(names)

    def mend(self, policies: Sequence[ScalingPolicy]) -> None:
        """At start: make what is missing, delete what belongs to no policy any more."""
        for policy in policies:
            self.put(policy)
        known = {alarm.name for policy in policies for alarm in policy.alarms}
        begins, says = _OURS
        stray = [
            alarm.name
            for alarm in self._alarms.list()
            if alarm.name.startswith(begins) and (alarm.description or "").startswith(says) and alarm.name not in known
        ]
        if stray:
            self._alarms.delete(stray)


def _ids(known: Sequence[PolicyAlarm]) -> tuple[str, str]:
    """UUIDs of AlarmHigh and AlarmLow: those they have, or new ones."""
    found = {}
    for alarm in known:
        name, side = alarm.name, "AlarmHigh" if "-AlarmHigh-" in alarm.name else "AlarmLow"
        found[side] = name.rpartition(f"-{side}-")[2]
    return found.get("AlarmHigh") or str(uuid.uuid4()), found.get("AlarmLow") or str(uuid.uuid4())


def _same(known: Alarm, wanted: Alarm) -> bool:
    return (known.watched, known.description, known.alarm_actions) == (
        wanted.watched,
        wanted.description,
        wanted.alarm_actions,
    )


def _alarm(wanted: TrackingAlarm, policy_arn: str) -> Alarm:
    return Alarm(
        name=wanted.name,
        description=wanted.description,
        watched=wanted.watched,
        alarm_actions=(policy_arn,),
        document=watched_document(wanted.watched),
        configured_s=0.0,  # the times are given where it is recorded
        state_updated_s=0.0,
        state_changed_s=0.0,
    )
