"""Scaler: one target, live. Inputs go to the reducer one after the other; what it decides is noted and carried out."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

from msgspec.structs import replace

from trimtab.control.scaling import activities
from trimtab.control.scaling.means import Means
from trimtab.control.scaling.seen import VariantSeen
from trimtab.control.scaling.wanting import decides_by_events
from trimtab.errors import TrimtabError
from trimtab.logs import fields
from trimtab.policies.scaling import limits
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Bounds, Finished, Input, Load, Room, Scheduled, Tick
from trimtab.policies.scaling.reducer import step
from trimtab.policies.scaling.state import State, pack
from trimtab.resources.scaling import VARIANT_COUNT, NotScaled, ScalingActivity

logger = logging.getLogger(__name__)

RETRY_S: Final = 30.0  # after which a scale-out that failed is asked for again, while its alarm goes on
_OFTEN: Final = (Load, Tick)  # inputs that change nothing durable, unless they lead to a decision


class Scaler:
    """Used from one event loop. `capacity` is what is wanted, as far as is known."""

    def __init__(self, rules: Rules, state: State, means: Means, seen: VariantSeen) -> None:
        self.rules = replace(rules, ceiling=seen.ceiling)
        self.state = state
        self.capacity = seen.capacity
        self.blocked = not seen.scalable  # by an update: decisions could not be carried out
        self.activity: ScalingActivity | None = None  # of the change under way
        self.last_load: Load | None = None  # since nothing was in the way, or it was last unknown
        self.retries_s: float | None = None  # monotonic: when a scale-out that failed is to be asked for again
        self._means = means
        self._inputs: deque[tuple[Input, float]] = deque()
        self._busy = False
        self._owes_bounds = False  # capacity was to be moved inside the bounds, and that was refused or has failed
        self._left: tuple[str, tuple[NotScaled, ...]] | None = None  # what was recorded last as not made
        self._failing = False

    @property
    def is_event(self) -> bool:
        """Whether a policy decides on every change of load."""
        return decides_by_events(self.rules.policies)

    @property
    def looks_at_load(self) -> bool:
        """The same; and where no replica is wanted, a request must wake one whatever the policies. Not while an update
        is in the way."""
        if self.blocked or self.rules.target.dimension != VARIANT_COUNT:  # environments follow requests in any case
            return False
        return self.capacity == 0 or self.is_event

    # inputs

    def feed(self, given: Input, *, detect_s: float = 0.0) -> None:
        """Decide upon an input, and carry out what was decided. One that comes in the middle of that waits."""
        self._inputs.append((given, detect_s))
        if isinstance(given, Load):
            self.last_load = given
        if self._busy:
            return
        self._busy = True
        try:
            while self._inputs:
                self._step(*self._inputs.popleft())
            self._failing = False
        except Exception:  # the target stays as it is; the next input is another one
            if not self._failing:
                target = self.rules.target
                place = {"endpoint": target.endpoint, "variant": target.variant}
                logger.exception("autoscaling failed inside trimtab %s", fields(**place))
            self._failing = True
        finally:
            self._busy = False

    def bounds(self) -> None:
        """Move capacity inside the target's bounds."""
        self.feed(Bounds(at_s=self._means.clock.now_s(), capacity=self.capacity))

    def mend_bounds(self) -> None:
        """At start: the control before may have died between the bounds and the change that they ask for."""
        if self.activity is None and self._is_outside():
            if self.blocked:
                self._owes_bounds = True
            else:
                self.bounds()

    def restore_bounds(self, *, has_room: bool) -> None:
        """Once a second: move capacity inside the bounds where that failed before, as soon as the pause after failures
        is over. If room has come since the last one, that pause is over, for load too."""
        now_s = self._means.clock.now_s()
        if has_room and self.state.failures:
            self.feed(Room(at_s=now_s, capacity=self.capacity))
        if not self._owes_bounds or self.blocked or self.activity is not None:
            return
        if limits.retry_in_s(self.state, now_s) == 0:
            self._owes_bounds = False
            self.bounds()

    def see(self, seen: VariantSeen) -> None:
        """The endpoint's record may have changed."""
        self.capacity = seen.capacity
        if seen.ceiling != self.rules.ceiling:
            self.rules = replace(self.rules, ceiling=seen.ceiling)
        if self.activity is not None and not seen.moving:
            self._ended_unheard(self.activity, seen)
        was_blocked, self.blocked = self.blocked, not seen.scalable
        if self.blocked:
            self.last_load = None
        if was_blocked and not self.blocked and self._owes_bounds:
            self._owes_bounds = False
            self.bounds()

    def ended(self, seen: VariantSeen, failure: str) -> None:
        """The change under way is over; `failure` says why it came to less than was wanted, "" when it did not."""
        self.capacity = seen.capacity
        if seen.moving:
            return  # another one has overtaken it
        now_s = self._means.clock.now_s()
        if self.activity is not None:
            over = activities.failed(self.activity, now_s, failure) if failure else None
            self._close(over or activities.succeeded(self.activity, now_s))
        self._finish(now_s, ok=not failure)

    def abandon(self) -> None:
        """The target is gone: nobody follows its change to the end."""
        if self.activity is not None:
            by = "the end of the scalable target"
            self._close(activities.overridden(self.activity, self._means.clock.now_s(), by))

    def adopt(self, activity: ScalingActivity | None, seen: VariantSeen) -> None:
        """At start: what the control before had under way goes on, or is ended as the endpoint's record has it."""
        if activity is None and seen.moving:  # it died before it could write it down
            activity = self._begin(
                Decision(at_s=seen.since_s, before=seen.before, wanted=seen.capacity, made=True, cause=seen.why)
            )
        self.activity = activity
        change = self.state.change
        if seen.moving:
            return
        if activity is not None:
            self._ended_unheard(activity, seen)
        elif change is not None and change.ended_s is None:
            self._finish(self._means.clock.now_s(), ok=seen.capacity == change.wanted)

    def _ended_unheard(self, activity: ScalingActivity, seen: VariantSeen) -> None:
        now_s, ok = self._means.clock.now_s(), seen.capacity == activities.wanted_of(activity)
        if ok:
            self._close(activities.succeeded(activity, now_s))
        elif seen.failure or seen.capacity == activities.before_of(activity):
            why = seen.failure or "trimtab ended before the change was taken, or the endpoint was updated meanwhile."
            self._close(activities.failed(activity, now_s, why))
        else:
            self._close(activities.overridden(activity, now_s, "another change of the endpoint"))
        self._finish(now_s, ok=ok)

    def _finish(self, now_s: float, *, ok: bool) -> None:
        grew = self.state.change is not None and self.state.change.is_out
        self.retries_s = self._means.clock.monotonic_s() + RETRY_S if grew and not ok else None
        self._owes_bounds = not ok and self._is_outside()
        self.feed(Finished(at_s=now_s, capacity=self.capacity, ok=ok))

    def _is_outside(self) -> bool:
        target = self.rules.target
        return not self.rules.capped(target.min_capacity) <= self.capacity <= self.rules.capped(target.max_capacity)

    # decisions

    def _step(self, given: Input, detect_s: float) -> None:
        decided_s = self._means.clock.monotonic_s()
        before, target = self.state, self.rules.target
        self.state, decisions = step(self.rules, before, given)
        self._means.note(target.endpoint, target.variant, self.rules, before, given, decisions, self.state)
        for decision in decisions:
            if decision.bounds is not None:
                self._move_bounds(decision.bounds)
                if isinstance(given, Scheduled):
                    self._save(activities.moved(target, decision, given))
            if decision.made:
                self._carry_out(decision, given, detect_s, decided_s)
            elif decision.not_scaled:
                self._leave(decision)
        if decisions or not isinstance(given, _OFTEN):
            self._keep_state(before)

    def _carry_out(self, decision: Decision, given: Input, detect_s: float, decided_s: float) -> None:
        target, why = self.rules.target, decision.cause or decision.reason
        place = {"endpoint": target.endpoint, "variant": target.variant}
        try:
            changes = self._means.scale(
                target.endpoint,
                target.variant,
                decision.wanted,
                why=why,
                detect_s=detect_s,
                decided_monotonic_s=decided_s,
            )
        except TrimtabError as error:
            logger.warning("scaling refused %s", fields(**place, count=decision.wanted, error=error))
            self._refused(decision, given, str(error))
            return
        logger.info("scaling %s", fields(**place, before=decision.before, count=decision.wanted, why=why))
        now_s = self._means.clock.now_s()
        if self.activity is not None:
            self._save(activities.overridden(self.activity, now_s, "a later scaling activity"))
        self.capacity = decision.wanted
        self._left = self.retries_s = None
        self.activity = self._begin(decision)
        self._means.decided(target, decision)
        if not changes:
            self._close(activities.succeeded(self.activity, now_s))
            self._inputs.append((Finished(at_s=now_s, capacity=self.capacity, ok=True), 0.0))

    def _refused(self, decision: Decision, given: Input, why: str) -> None:
        self._owes_bounds = self._owes_bounds or isinstance(given, Bounds | Scheduled)
        self._record_left(decision, activities.refused(self.rules.target, decision, why, self.capacity))
        now_s = self._means.clock.now_s()
        self._inputs.append((Finished(at_s=now_s, capacity=self.capacity, ok=False), 0.0))

    def _leave(self, decision: Decision) -> None:
        self._record_left(decision, activities.left(self.rules.target, decision))

    def _record_left(self, decision: Decision, activity: ScalingActivity) -> None:
        """Once, until it is another reason: alarms repeat themselves each minute, events many times a second."""
        reason = (decision.policy, activity.not_scaled)
        if reason != self._left:
            self._left = reason
            self._save(activity)

    def _move_bounds(self, bounds: tuple[int, int]) -> None:
        least, most = bounds
        target = replace(self.rules.target, min_capacity=least, max_capacity=most)
        self.rules = replace(self.rules, target=target)
        self._means.moved(target)

    # what is kept

    def _begin(self, decision: Decision) -> ScalingActivity:
        activity = activities.begun(self.rules.target, decision)
        self._save(activity)
        return activity

    def _close(self, activity: ScalingActivity) -> None:
        self.activity = None
        self._save(activity)

    def _save(self, activity: ScalingActivity) -> None:
        self._means.later(lambda: self._means.store.save_activity(activity))

    def _keep_state(self, before: State) -> None:
        packed = pack(self.state)
        if packed != pack(before):
            target = self.rules.target
            self._means.later(lambda: self._means.store.save_state(target.endpoint, target.variant, packed))
