"""What is scaled, for tests, and what every store must do with it, as a suite: subclass it and give it a `store`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from trimtab.resources.metric_query import MetricQuery, MetricStat
from trimtab.resources.scaling import (
    ACTIVITIES_KEPT_S,
    VARIANT_COUNT,
    ActivityStatus,
    NotScaled,
    PolicyAlarm,
    Predictive,
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    StepAdjustment,
    StepScaling,
    Suspended,
    TargetTracking,
)
from trimtab.store.scaling import ACTIVITIES_KEPT
from trimtab.store.store import Store

STAT = MetricStat("AWS/SageMaker", "Invocations", (("EndpointName", "fraud"),), 60, "Sum")
MATH = (MetricQuery("m", STAT, return_data=False), MetricQuery("e", expression="m / 2", label="half"))


def a_target(endpoint: str = "fraud", variant: str = "blue", **more: Any) -> ScalableTarget:
    """A variant that is scaled between 1 and 4."""
    made = ScalableTarget(endpoint=endpoint, variant=variant, min_capacity=1, max_capacity=4, created_s=1.5, id="0a1b")
    return replace(made, **more)


def a_policy(name: str = "keep", endpoint: str = "fraud", variant: str = "blue", **more: Any) -> ScalingPolicy:
    """A policy that tracks a predefined metric."""
    tracking = TargetTracking(target_value=70.0, predefined="SageMakerVariantInvocationsPerInstance")
    made = ScalingPolicy(
        name=name, arn=f"arn:{name}", endpoint=endpoint, variant=variant, created_s=1.5, tracking=tracking
    )
    return replace(made, **more)


def an_action(name: str = "monday", endpoint: str = "fraud", variant: str = "blue", **more: Any) -> ScheduledAction:
    """An action that moves the least capacity every hour."""
    made = ScheduledAction(
        name=name, arn=f"arn:{name}", endpoint=endpoint, variant=variant, schedule="rate(1 hour)", created_s=1.5,
        min_capacity=2,
    )  # fmt: skip
    return replace(made, **more)


def an_activity(id: str = "a1", endpoint: str = "fraud", variant: str = "blue", **more: Any) -> ScalingActivity:
    """A change that is under way."""
    made = ScalingActivity(
        id=id, endpoint=endpoint, variant=variant, description="Setting desired instance count to 4.", cause="why",
        start_s=100.0, status=ActivityStatus.IN_PROGRESS,
    )  # fmt: skip
    return replace(made, **more)


def _ids(activities: Any) -> list[str]:
    return [activity.id for activity in activities]


class ScalingStoreSuite:
    """The promises of `store.scaling.ScalingStore`."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """A new, empty store."""
        raise NotImplementedError("a subclass gives the store")

    def test_a_target_comes_back_whole(self, store: Store) -> None:
        target = a_target(suspended=Suspended(scale_in=True), tags={"b": "2", "a": "1"}, role_arn="r", managed=True)
        store.scaling.save_target(target)
        assert list(store.scaling.targets()) == [target]
        assert list(store.scaling.targets()[0].tags) == ["b", "a"]

    @pytest.mark.parametrize(
        "kind",
        [
            {},
            {"tracking": TargetTracking(target_value=1, stat=STAT, disable_scale_in=True)},
            {"tracking": TargetTracking(target_value=0.5, queries=MATH)},
            {
                "tracking": None,
                "step": StepScaling(
                    adjustment_type="ChangeInCapacity",
                    steps=(StepAdjustment(None, 0.0, -1), StepAdjustment(0.0, None, 1)),
                ),
            },
            {"tracking": None, "predictive": Predictive(target_value=3.0, stat=STAT, mode="ForecastAndScale")},
        ],
        ids=["predefined", "customized", "math", "step", "predictive"],
    )  # fmt: skip
    def test_a_policy_of_each_kind_comes_back_whole(self, store: Store, kind: dict[str, Any]) -> None:
        policy = a_policy(alarms=(PolicyAlarm("high", "arn:high"),), document={"Deep": [{"x": 1.5}]}, **kind)
        store.scaling.save_policy(policy)
        assert list(store.scaling.policies()) == [policy]

    def test_an_action_comes_back_whole(self, store: Store) -> None:
        action = an_action(timezone="Europe/Berlin", start_s=1.5, end_s=2.5, max_capacity=7)
        store.scaling.save_action(action)
        assert list(store.scaling.actions()) == [action]

    def test_saving_again_replaces_without_regard_to_case(self, store: Store) -> None:
        store.scaling.save_target(a_target("Fraud", "Blue"))
        store.scaling.save_target(a_target(max_capacity=9))
        store.scaling.save_policy(a_policy(endpoint="Fraud"))
        store.scaling.save_policy(a_policy(arn="new"))
        store.scaling.save_action(an_action(variant="BLUE"))
        store.scaling.save_action(an_action(arn="new"))
        assert list(store.scaling.targets()) == [a_target(max_capacity=9)]
        assert list(store.scaling.policies()) == [a_policy(arn="new")]
        assert list(store.scaling.actions()) == [an_action(arn="new")]

    def test_names_of_policies_and_actions_keep_their_case(self, store: Store) -> None:
        for name in ("keep", "Keep"):
            store.scaling.save_policy(a_policy(name))
            store.scaling.save_action(an_action(name))
        assert {policy.name for policy in store.scaling.policies()} == {"keep", "Keep"}
        assert {action.name for action in store.scaling.actions()} == {"keep", "Keep"}

    def test_the_same_name_in_two_targets_is_two_policies(self, store: Store) -> None:
        store.scaling.save_policy(a_policy())
        store.scaling.save_policy(a_policy(variant="green"))
        store.scaling.delete_policy("FRAUD", "Blue", VARIANT_COUNT, "keep")
        store.scaling.delete_policy("fraud", "blue", VARIANT_COUNT, "keep")  # gone: no effect
        assert list(store.scaling.policies()) == [a_policy(variant="green")]

    def test_a_deleted_action_is_gone_alone(self, store: Store) -> None:
        store.scaling.save_action(an_action())
        store.scaling.save_action(an_action("friday"))
        store.scaling.delete_action("Fraud", "blue", VARIANT_COUNT, "monday")
        store.scaling.delete_action("fraud", "blue", VARIANT_COUNT, "nothing")
        assert list(store.scaling.actions()) == [an_action("friday")]

    def test_a_target_takes_what_is_its_own_with_it_and_leaves_its_activities(self, store: Store) -> None:
        for variant in ("blue", "green"):
            store.scaling.save_target(a_target(variant=variant))
            store.scaling.save_policy(a_policy(variant=variant))
            store.scaling.save_action(an_action(variant=variant))
            store.scaling.save_state("fraud", variant, b"state")
            store.scaling.save_activity(an_activity(variant, variant=variant))
        store.scaling.delete_target("FRAUD", "Blue", VARIANT_COUNT)
        store.scaling.delete_target("fraud", "blue", VARIANT_COUNT)  # gone: no effect
        assert list(store.scaling.targets()) == [a_target(variant="green")]
        assert list(store.scaling.policies()) == [a_policy(variant="green")]
        assert list(store.scaling.actions()) == [an_action(variant="green")]
        assert store.scaling.state("fraud", "blue") is None
        assert store.scaling.state("fraud", "green") == b"state"
        assert _ids(store.scaling.activities()) == ["green", "blue"]

    def test_a_state_is_replaced_and_found_without_regard_to_case(self, store: Store) -> None:
        assert store.scaling.state("fraud", "blue") is None
        store.scaling.save_target(a_target())
        store.scaling.save_state("fraud", "blue", b"1")
        store.scaling.save_state("Fraud", "BLUE", b"2")
        store.scaling.save_target(a_target(max_capacity=9))
        assert store.scaling.state("fraud", "Blue") == b"2"

    def test_an_activity_that_goes_on_keeps_its_place(self, store: Store) -> None:
        done = an_activity("1", status=ActivityStatus.SUCCESSFUL, end_s=103.5, status_message="done")
        refused = an_activity("2", not_scaled=(NotScaled(code="AlreadyAtMaxCapacity", max_capacity=4),), details="{}")
        store.scaling.save_activity(an_activity("1"))
        store.scaling.save_activity(refused)
        store.scaling.save_activity(done)
        assert list(store.scaling.activities()) == [refused, done]

    def test_activities_are_read_in_parts_of_an_endpoint_of_a_variant_or_of_all(self, store: Store) -> None:
        for n in range(6):
            store.scaling.save_activity(an_activity(str(n), "FM"[n % 2], "blue" if n < 4 else "green"))
        assert _ids(store.scaling.activities()) == ["5", "4", "3", "2", "1", "0"]
        assert _ids(store.scaling.activities("f")) == ["4", "2", "0"]
        assert _ids(store.scaling.activities("f", "BLUE")) == ["2", "0"]
        assert _ids(store.scaling.activities(limit=2)) == ["5", "4"]
        assert _ids(store.scaling.activities(before="4", limit=2)) == ["3", "2"]
        assert _ids(store.scaling.activities("f", before="4")) == ["2", "0"]
        assert _ids(store.scaling.activities(before="nobody")) == []

    def test_activities_older_than_six_weeks_are_forgotten(self, store: Store) -> None:
        store.scaling.save_activity(an_activity("old", start_s=1000.0))
        store.scaling.save_activity(an_activity("old too", "other", start_s=1000.0))
        store.scaling.save_activity(an_activity("just in time", start_s=1000.0 + ACTIVITIES_KEPT_S))
        assert len(store.scaling.activities()) == 3
        store.scaling.save_activity(an_activity("new", start_s=1001.0 + ACTIVITIES_KEPT_S))
        assert _ids(store.scaling.activities()) == ["new", "just in time"]

    def test_activities_of_one_variant_are_bounded(self, store: Store) -> None:
        store.scaling.save_activity(an_activity("other", variant="green"))
        for n in range(ACTIVITIES_KEPT + 3):
            store.scaling.save_activity(an_activity(str(n)))
        found = _ids(store.scaling.activities("fraud", "blue", limit=ACTIVITIES_KEPT + 10))
        assert found == [str(n) for n in range(ACTIVITIES_KEPT + 2, 2, -1)]
        assert _ids(store.scaling.activities("fraud", "green")) == ["other"]
