"""Scaling: what autoscaling can be told and asked (`ScalingApi`). Each change is on disk before it counts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.control.scaling.api import ScalingApi
from trimtab.control.scaling.arns import Arns
from trimtab.control.scaling.book import Book, place_of
from trimtab.control.scaling.scalers import Records, Scalers
from trimtab.control.scaling.seen import seen_of, target_seen
from trimtab.control.scaling.tracking_alarms import TrackingAlarms
from trimtab.control.scaling.wanting import wants_signals
from trimtab.errors import Invalid, LimitExceeded, NotFound
from trimtab.policies.scaling import schedule, step_scaling
from trimtab.resources.names import key_of
from trimtab.resources.scaling import (
    LEAST,
    PROVISIONED,
    ScalableTarget,
    ScalingActivity,
    ScalingPolicy,
    ScheduledAction,
    Suspended,
)
from trimtab.store.scaling import ScalingStore

MAX_TAGS: Final = 50  # AWS


class Scaling(ScalingApi):
    """`wake` has an endpoint planned anew: gateways may have to tell control more of it, or less. `flush` writes what
    waits to be written.

    `on_schedule` is called when a scheduled action was made, changed or deleted.
    """

    def __init__(
        self,
        book: Book,
        store: ScalingStore,
        records: Records,
        alarms: TrackingAlarms,
        scalers: Scalers,
        arns: Arns,
        clock: Clock,
        wake: Callable[[str], None],
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._book = book
        self._store = store
        self._records = records
        self._alarms = alarms
        self._scalers = scalers
        self._arns = arns
        self._clock = clock
        self._wake = wake
        self._flush = flush
        self.on_schedule: Callable[[], None] = lambda: None

    # what control asks of a variant

    def wants_signals(self, endpoint: str, variant: str) -> bool:
        """Whether gateways must tell at once what they have in hand of it."""
        place = place_of(endpoint, variant)
        target = self._book.find(place)
        return target is not None and wants_signals(target, self._book.policies_of(place))

    def floor(self, endpoint: str, variant: str) -> int:
        """The least count that a caller may give it: 0 when its target's minimum is 0."""
        target = self._book.find(place_of(endpoint, variant))
        return 0 if target is not None and target.min_capacity == 0 else 1

    def is_scalable(self, endpoint: str, variant: str) -> bool:
        """Whether a caller registered it."""
        target = self._book.find(place_of(endpoint, variant))
        return target is not None and not target.managed

    # targets

    def register(
        self,
        endpoint: str,
        variant: str,
        dimension: str,
        *,
        min_capacity: int | None,
        max_capacity: int | None,
        role_arn: str,
        suspended: Suspended | None,
        tags: Mapping[str, str],
    ) -> ScalableTarget:
        """See ScalingApi."""
        self.forget_gone()
        record = self._records.get_endpoint(endpoint)
        seen = seen_of(record, variant)
        if seen is None:
            raise NotFound("variant", variant, f"The endpoint {endpoint!r} has no variant {variant!r}.")
        if seen.dimension != dimension:
            what = "is serverless" if seen.dimension == PROVISIONED else "has instances"
            raise Invalid(
                f"The variant {variant!r} of endpoint {endpoint!r} {what}: its scalable dimension is {seen.dimension}."
            )
        place = place_of(endpoint, variant)
        known = self._book.find(place)
        own = known if known is not None and not known.managed else None
        target = ScalableTarget(
            endpoint=record.endpoint.name,
            variant=seen.name,
            min_capacity=_given(min_capacity, own.min_capacity if own else None, "MinCapacity"),
            max_capacity=_given(max_capacity, own.max_capacity if own else None, "MaxCapacity"),
            created_s=own.created_s if own else self._clock.now_s(),
            id=own.id if own else secrets.token_hex(18),
            dimension=dimension,
            role_arn=role_arn or (own.role_arn if own else ""),
            suspended=suspended or (own.suspended if own else Suspended()),
            tags={**(own.tags if own else {}), **tags},
        )
        _check_target(target)
        self.keep_target(target)
        return target

    def keep_target(self, target: ScalableTarget) -> None:
        """Save a target and move capacity inside its bounds. One that was managed makes way for one of a caller."""
        place = place_of(target.endpoint, target.variant)
        known = self._book.find(place)
        if known is not None and known.managed and not target.managed:
            for policy in self._book.policies_of(place):
                self._book.drop_policy(policy)
        self._book.save_target(target)
        self._scalers.changed(place)
        if (scaler := self._scalers.fresh(place)) is not None:
            scaler.bounds()
        self._wake(target.endpoint)

    def deregister(self, endpoint: str, variant: str, dimension: str) -> None:
        """See ScalingApi."""
        self.forget_gone()
        self.forget(self._book.target(endpoint, variant, dimension))

    def forget(self, target: ScalableTarget) -> None:
        """A target with everything of it. What a crash leaves of its alarms is deleted at the next start."""
        place = place_of(target.endpoint, target.variant)
        alarms = [alarm for policy in self._book.policies_of(place) for alarm in policy.alarms]
        self._book.drop_target(target)
        self._alarms.delete(alarms)
        self._scalers.drop(place)
        self.on_schedule()
        self._wake(target.endpoint)

    def forget_gone(self) -> None:
        """AWS: with an endpoint go its targets. One that was made anew under the same name is another one."""
        if not self._book.targets():
            return
        records = {key_of(record.endpoint.name): record for record in self._records.list_endpoints()}
        for target in self._book.targets():
            record = records.get(key_of(target.endpoint))
            if record is None or target_seen(target, record) is None:
                self.forget(target)

    def targets(self) -> Sequence[ScalableTarget]:
        """See ScalingApi."""
        self.forget_gone()
        return self._book.targets()

    def set_tags(self, target_id: str, tags: Mapping[str, str]) -> None:
        """See ScalingApi."""
        if len(tags) > MAX_TAGS:
            raise LimitExceeded(f"A scalable target has at most {MAX_TAGS} tags.")
        target = replace(self._book.target_with_id(target_id), tags=dict(tags))
        self._book.save_target(target)
        self._scalers.changed(place_of(target.endpoint, target.variant))

    # policies

    def put_policy(self, policy: ScalingPolicy) -> ScalingPolicy:
        """See ScalingApi. Invalid for steps that AWS refuses."""
        self.forget_gone()
        target = self._book.target(policy.endpoint, policy.variant, policy.dimension)
        if policy.step is not None:
            step_scaling.check(policy.step)
        known = self._book.policy(target, policy.name)
        policy = replace(
            policy,
            endpoint=target.endpoint,
            variant=target.variant,
            arn=known.arn if known else self._arns.policy(target, policy.name),
            created_s=known.created_s if known else self._clock.now_s(),
            alarms=(),
        )
        policy = self._alarms.named(policy, known.alarms if known else ())
        self.keep_policy(policy)
        return policy

    def keep_policy(self, policy: ScalingPolicy) -> None:
        """Save a policy, and make its alarms; what a crash leaves undone is made at the next start."""
        place = place_of(policy.endpoint, policy.variant)
        known = {alarm.name: alarm for old in self._book.policies_of(place) if old.name == policy.name
                 for alarm in old.alarms}  # fmt: skip
        self._book.save_policy(policy)
        self._alarms.put(policy)
        self._alarms.delete([known[name] for name in known.keys() - {alarm.name for alarm in policy.alarms}])
        self._scalers.changed(place)
        self._scalers.find(place)
        self._wake(policy.endpoint)

    def delete_policy(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """See ScalingApi."""
        self.forget_gone()
        policy = self._policy(endpoint, variant, dimension, name)
        self._book.drop_policy(policy)
        self._alarms.delete(policy.alarms)
        self._scalers.changed(place_of(endpoint, variant))
        self._wake(policy.endpoint)

    def _policy(self, endpoint: str, variant: str, dimension: str, name: str) -> ScalingPolicy:
        try:
            policy = self._book.policy(self._book.target(endpoint, variant, dimension), name)
        except NotFound:
            policy = None
        if policy is None:
            raise NotFound("scaling-policy", name)
        return policy

    def policies(self) -> Sequence[ScalingPolicy]:
        """Those that callers made: the one that a managed target has is told by `trimtab explain`."""
        self.forget_gone()
        managed = {place_of(t.endpoint, t.variant) for t in self._book.targets() if t.managed}
        return [p for p in self._book.policies() if place_of(p.endpoint, p.variant) not in managed]

    # scheduled actions

    def put_action(self, action: ScheduledAction) -> None:
        """See ScalingApi."""
        self.forget_gone()
        target = self._book.target(action.endpoint, action.variant, action.dimension)
        known = self._book.action(target, action.name)
        if known is not None:
            action = replace(
                action,
                min_capacity=known.min_capacity if action.min_capacity is None else action.min_capacity,
                max_capacity=known.max_capacity if action.max_capacity is None else action.max_capacity,
                start_s=known.start_s if action.start_s is None else action.start_s,
                end_s=known.end_s if action.end_s is None else action.end_s,
                schedule=action.schedule or known.schedule,
            )
        now_s = self._clock.now_s()
        action = replace(
            action,
            endpoint=target.endpoint,
            variant=target.variant,
            arn=known.arn if known else self._arns.action(target, action.name),
            created_s=known.created_s if known else now_s,
        )
        for member, bound in (("MinCapacity", action.min_capacity), ("MaxCapacity", action.max_capacity)):
            _check_least(member, bound, action.dimension)
        schedule.check(action, now_s)
        self._book.save_action(action)
        self.on_schedule()

    def delete_action(self, endpoint: str, variant: str, dimension: str, name: str) -> None:
        """See ScalingApi."""
        self.forget_gone()
        try:
            action = self._book.action(self._book.target(endpoint, variant, dimension), name)
        except NotFound:
            action = None
        if action is None:
            raise NotFound("scheduled-action", name)
        self._book.drop_action(action)
        self.on_schedule()

    def actions(self) -> Sequence[ScheduledAction]:
        """See ScalingApi."""
        self.forget_gone()
        return self._book.actions()

    def activities(
        self, endpoint: str = "", variant: str = "", *, before: str = "", limit: int = 50
    ) -> Sequence[ScalingActivity]:
        """See ScalingApi."""
        self._flush()
        return self._store.activities(endpoint, variant, before=before, limit=limit)


def _given(value: int | None, known: int | None, member: str) -> int:
    if value is None:
        value = known
    if value is None:
        raise Invalid(f"{member} is missing: a new scalable target needs MinCapacity and MaxCapacity.")
    return value


def _check_target(target: ScalableTarget) -> None:
    _check_least("MinCapacity", target.min_capacity, target.dimension)
    if target.min_capacity > target.max_capacity:
        raise Invalid(f"MinCapacity {target.min_capacity} is above MaxCapacity {target.max_capacity}.")
    if len(target.tags) > MAX_TAGS:
        raise LimitExceeded(f"A scalable target has at most {MAX_TAGS} tags.")


def _check_least(member: str, bound: int | None, dimension: str) -> None:
    if bound is not None and bound < LEAST[dimension]:
        raise Invalid(f"{member} is {bound}: for {dimension} it must be {LEAST[dimension]} or more.")
