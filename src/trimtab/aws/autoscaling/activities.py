"""DescribeScalingActivities: what was done to a variant's capacity, why, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from trimtab.aws.autoscaling.pages import known_token, limit_of, listing_of
from trimtab.aws.autoscaling.places import chooser, described_place, narrowed
from trimtab.aws.paging import Pager, scan
from trimtab.aws.registry import Call, operation
from trimtab.clock import Clock
from trimtab.control.scaling.api import ScalingApi
from trimtab.resources.scaling import ACTIVITIES_KEPT_S, NotScaled, ScalingActivity

_CHUNK: Final = 200  # activities read at once


class Activities:
    """Scaling activities, those of targets and endpoints that are no more included."""

    def __init__(self, scaling: ScalingApi, clock: Clock, pager: Pager) -> None:
        self._scaling = scaling
        self._clock = clock
        self._pager = pager

    @operation("application-autoscaling", "DescribeScalingActivities")
    def describe(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page, newest first; what was wanted and not made only with IncludeNotScaledActivities."""
        is_chosen = chooser(params)
        since_s = self._clock.now_s() - ACTIVITIES_KEPT_S
        with_not_scaled = params.get("IncludeNotScaledActivities", False)
        listing, limit = listing_of(call, params), limit_of(params)
        before = ""
        if token := params.get("NextToken"):
            before = str(known_token(lambda: self._pager.place(listing, token))[0])

        def is_wanted(activity: ScalingActivity) -> bool:
            is_asked_for = with_not_scaled or not activity.not_scaled
            return is_asked_for and activity.start_s >= since_s and is_chosen(activity)

        found, last = scan(self._activities(params, before), is_wanted, limit=limit)
        answer: dict[str, Any] = {"ScalingActivities": [_described(activity) for activity in found]}
        return answer | ({"NextToken": self._pager.token(listing, (last.id,))} if last is not None else {})

    def _activities(self, params: Mapping[str, Any], before: str) -> Iterator[ScalingActivity]:
        endpoint, variant = narrowed(params)
        while page := self._scaling.activities(endpoint, variant, before=before, limit=_CHUNK):
            yield from page
            before = page[-1].id


def _described(activity: ScalingActivity) -> dict[str, Any]:
    answer = {
        "ActivityId": activity.id,
        **described_place(activity),
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": activity.start_s,
        "EndTime": activity.end_s,
        "StatusCode": activity.status.value,
        "StatusMessage": activity.status_message or None,
        "Details": activity.details or None,
        "NotScaledReasons": [_reason(reason) for reason in activity.not_scaled] or None,
    }
    return {key: value for key, value in answer.items() if value is not None}


def _reason(reason: NotScaled) -> dict[str, Any]:
    answer = {
        "Code": reason.code,
        "MaxCapacity": reason.max_capacity,
        "MinCapacity": reason.min_capacity,
        "CurrentCapacity": reason.current_capacity,
    }
    return {key: value for key, value in answer.items() if value is not None}
