"""The one door to scaling: what has been, and what comes in, make what is decided and what is remembered.

Live control, `trimtab replay` and the simulator call nothing else. Equal rules, states and inputs give equal answers.
"""

from __future__ import annotations

from math import ceil, isfinite
from typing import Protocol

from msgspec.structs import replace

from trimtab.policies.scaling import event, limits, step_scaling, tracking, words
from trimtab.policies.scaling.asks import Ask, Result, decide
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import AlarmFired, Bounds, Finished, Forecast, Input, Load, Room, Scheduled, Tick
from trimtab.policies.scaling.state import Floor, Low, State, Wished
from trimtab.policies.scaling.wish import Wish
from trimtab.resources.scaling import ScalableTarget, ScalingPolicy, StepScaling, TargetTracking


class Observe(Protocol):
    """`event.observe`."""

    def __call__(
        self,
        tracking: TargetTracking,
        target: ScalableTarget,
        state: event.EventState,
        given: Load | Tick,
        *,
        policy: str = "",
    ) -> tuple[event.EventState, Wish | None]: ...


def step(rules: Rules, state: State, given: Input, *, observe: Observe = event.observe) -> Result:
    """The state after `given`, and what is decided: at most one change of capacity, and what was asked for in vain.

    A scheduled action is one decision with `bounds`, which hold for the following step, whether or not it is `made`.
    """
    if isinstance(given, Load | Tick):
        return _observed(rules, state, given, observe)
    state = _of_living(rules, state)
    if isinstance(given, AlarmFired):
        return _alarm(rules, state, given)
    if isinstance(given, Finished):
        return limits.finished(state, given), ()
    if isinstance(given, Room):
        return replace(state, failures=0), ()
    if isinstance(given, Scheduled):
        return _scheduled(rules, state, given)
    if isinstance(given, Bounds):
        return _bounds(rules, state, given)
    return _forecast(rules, state, given)


def _of_living(rules: Rules, state: State) -> State:
    """Without what policies that are no more have left."""
    arns = {policy.arn for policy in rules.policies}
    if arns.issuperset((*state.events, *state.wishes, *state.lows, *state.floors)):
        return state
    return replace(
        state,
        events={arn: of for arn, of in state.events.items() if arn in arns},
        wishes={arn: of for arn, of in state.wishes.items() if arn in arns},
        lows={arn: of for arn, of in state.lows.items() if arn in arns},
        floors={arn: of for arn, of in state.floors.items() if arn in arns},
    )


# --- alarms


def _alarm(rules: Rules, state: State, given: AlarmFired) -> Result:
    policy = next((one for one in rules.policies if one.arn == given.policy), None)
    if policy is None or not isfinite(given.value):
        return state, ()
    if policy.step is not None:
        return _step(rules, state, given, policy, policy.step)
    if policy.tracking is None or policy.tracking.is_event:
        return state, ()
    if policy.alarms and given.alarm not in {alarm.name for alarm in policy.alarms}:
        return state, ()  # a caller's own alarm: its value is not of the metric that is tracked
    return _tracking(rules, state, given, policy, policy.tracking)


def _tracking(rules: Rules, state: State, given: AlarmFired, policy: ScalingPolicy, keeps: TargetTracking) -> Result:
    lows = {arn: low for arn, low in state.lows.items() if arn != policy.arn}
    if not given.is_high:
        if keeps.disable_scale_in:
            return state, ()
        lows[policy.arn] = Low(given.at_s, given.value)
    state = replace(state, lows=lows)
    base = limits.measured(
        state, given.capacity, tracking.period_s(keeps), given.at_s, per_wanted=tracking.is_per_wanted(keeps)
    )
    side = "over" if given.is_high else "under"
    wish = Wish(
        policy=policy.name,
        capacity=tracking.capacity(base, given.value, keeps.target_value),
        reason=f"alarm {given.alarm}: the metric, {given.value:g}, is {side} {given.threshold:g}",
        arithmetic=tracking.arithmetic(base, given.value, keeps.target_value),
        inputs={"metric": given.value, "target": keeps.target_value, "capacity": base},
    )
    ask = Ask(
        wish=wish,
        arn=policy.arn,
        is_out=given.is_high,
        cause=words.alarm_cause(given.alarm, policy.name),
        base=base,
        out_cooldown_s=keeps.scale_out_cooldown_s,
        # AWS does not say that a scale-out holds up a scale-in. Its effect is to be seen before it is undone.
        in_cooldown_s=keeps.scale_out_cooldown_s if given.is_high else keeps.scale_in_cooldown_s,
    )
    return decide(rules, state, given, ask)


def _step(rules: Rules, state: State, given: AlarmFired, policy: ScalingPolicy, steps: StepScaling) -> Result:
    beyond = given.value - given.threshold
    inputs = {"metric": given.value, "threshold": given.threshold, "capacity": given.capacity}
    reason = f"alarm {given.alarm}: the metric, {given.value:g}, is {abs(beyond):g} {_side(beyond)} {given.threshold:g}"
    cause = words.alarm_cause(given.alarm, policy.name)
    adjustment = step_scaling.matching(steps, beyond, is_high=given.is_high)
    if adjustment is None:
        nothing = Decision(
            at_s=given.at_s,
            before=given.capacity,
            wanted=given.capacity,
            made=False,
            policy=policy.name,
            reason=f"{reason}; not done: no step adjustment is for that",
            cause=cause,
            inputs=inputs,
        )
        return state, (nothing,)
    amount = adjustment.adjustment
    is_out = amount >= given.capacity if steps.adjustment_type == step_scaling.EXACT else amount >= 0
    base = limits.counted(state, given.capacity, given.at_s) if is_out else given.capacity
    wish = Wish(
        policy=policy.name,
        capacity=step_scaling.capacity(steps, amount, base),
        reason=reason,
        arithmetic=step_scaling.arithmetic(steps, amount, base),
        inputs=inputs | {"capacity": base, "adjustment": amount},
    )
    ask = Ask(
        wish=wish,
        arn=policy.arn,
        is_out=is_out,
        cause=cause,
        base=base,
        out_cooldown_s=steps.cooldown_s,
        in_cooldown_s=steps.cooldown_s,
        by_step=True,
    )
    return decide(rules, state, given, ask)


def _side(beyond: float) -> str:
    return "below" if beyond < 0 else "above"


# --- load


def _observed(rules: Rules, state: State, given: Load | Tick, observe: Observe) -> Result:
    state = _heard(rules, state, given, observe)
    waking = isinstance(given, Load) and given.capacity == 0 and (given.waiting > 0 or given.now > 0)
    asks = [_event_ask(policy, state, given) for policy in rules.policies if policy.arn in state.wishes]
    live = [ask for ask in asks if ask is not None]
    more = [ask for ask in live if ask.is_out]
    if more:
        return decide(rules, state, given, max(more, key=_asked))
    if waking and isinstance(given, Load):
        return decide(rules, state, given, _wake_ask(rules, given))
    if live:
        return decide(rules, state, given, max(live, key=_asked))
    return state, ()


def _asked(ask: Ask) -> int:
    return ask.wish.capacity


def _heard(rules: Rules, state: State, given: Load | Tick, observe: Observe) -> State:
    """The state once each event policy has seen what came."""
    events, wishes = state.events, state.wishes
    for policy in rules.policies:
        if policy.tracking is None or not policy.tracking.is_event:
            continue
        before = events.get(policy.arn) or event.EventState()
        after, wish = observe(policy.tracking, rules.target, before, given, policy=policy.name)
        events = {**events, policy.arn: after}
        if wish is not None:
            wishes = {**wishes, policy.arn: Wished(given.at_s, wish)}
    return state if events is state.events else replace(state, events=events, wishes=wishes)


def _event_ask(policy: ScalingPolicy, state: State, given: Load | Tick) -> Ask | None:
    """What an event policy wants changed now; None: it is content, or may not have less."""
    said = state.wishes[policy.arn]
    keeps, wish = policy.tracking, said.wish
    if keeps is None or said.at_s != given.at_s or wish.capacity == given.capacity:
        return None
    is_out = wish.capacity > given.capacity
    if not is_out and (keeps.disable_scale_in or not wish.may_scale_in):
        return None
    return Ask(
        wish=wish,
        arn=policy.arn,
        is_out=is_out,
        cause=words.event_cause(policy.name),
        base=given.capacity,
        in_cooldown_s=keeps.scale_in_cooldown_s,
    )


def _wake_ask(rules: Rules, given: Load) -> Ask:
    """One replica for requests that wait where there is none, whatever the policies. It is not undone in a cooldown."""
    hold_s = max((p.tracking.scale_in_cooldown_s for p in rules.policies if p.tracking is not None), default=0.0)
    wish = Wish(
        policy="",
        capacity=1,
        reason=f"{max(given.waiting, given.now)} requests wait, and there is no replica",
        arithmetic="1",
        inputs={"waiting": given.waiting, "now": given.now},
    )
    return Ask(wish=wish, arn="", is_out=True, cause=words.WAKE_CAUSE, base=0, in_cooldown_s=hold_s)


# --- bounds and forecasts


def _bounds(rules: Rules, state: State, given: Bounds) -> Result:
    high = limits.bounds(rules, state, given.at_s)[1]
    low = min(rules.target.min_capacity, high)
    wanted = min(max(given.capacity, low), high)
    if wanted == given.capacity:
        return state, ()
    is_out = wanted > given.capacity
    counted = f"{given.capacity} {words.units(rules.target.dimension)}"
    decision = Decision(
        at_s=given.at_s,
        before=given.capacity,
        wanted=wanted,
        made=True,
        reason=f"{counted} are {'fewer' if is_out else 'more'} than the target allows",
        arithmetic=_clamped(given.capacity, low, high),
        cause=words.minimum_cause(low) if is_out else words.maximum_cause(high),
        inputs={"min": low, "max": high},
    )
    return limits.changed(state, given.at_s, given.capacity, wanted, 0.0, 0.0), (decision,)


def _clamped(capacity: int, low: int, high: int) -> str:
    return f"min(max({capacity}, {low}), {high}) = {min(max(capacity, low), high)}"


def _scheduled(rules: Rules, state: State, given: Scheduled) -> Result:
    low, high = moved(rules.target, given)
    most = rules.capped(high)
    wanted = min(max(given.capacity, low), most)
    is_on = not rules.target.suspended.scheduled
    reason = words.bounds_description(given.min_capacity, given.max_capacity)
    decision = Decision(
        at_s=given.at_s,
        before=given.capacity,
        wanted=wanted,
        made=is_on and wanted != given.capacity,
        reason=reason if is_on else f"{reason}; not done: scheduled scaling is suspended",
        arithmetic=_clamped(given.capacity, low, most),
        cause=words.schedule_cause(given.action),
        inputs={"min": low, "max": most},
        bounds=(low, high) if is_on else None,
    )
    if not decision.made:
        return state, (decision,)
    return limits.changed(state, given.at_s, given.capacity, wanted, 0.0, 0.0), (decision,)


def moved(target: ScalableTarget, given: Scheduled) -> tuple[int, int]:
    """The bounds that a scheduled action makes. A bound that is not given makes way for the one that is."""
    low = target.min_capacity if given.min_capacity is None else given.min_capacity
    high = target.max_capacity if given.max_capacity is None else given.max_capacity
    if low > high:
        return (low, low) if given.max_capacity is None else (high, high)
    return low, high


def _forecast(rules: Rules, state: State, given: Forecast) -> Result:
    policy = next((one for one in rules.policies if one.arn == given.policy), None)
    foresees = policy.predictive if policy is not None else None
    if policy is None or foresees is None or not isfinite(given.wanted) or foresees.mode != "ForecastAndScale":
        return state, ()
    wanted = max(0, ceil(given.wanted - 1e-9))
    most = rules.target.max_capacity
    if foresees.max_capacity_breach == "IncreaseMaxCapacity" and wanted >= most:
        most = max(most, wanted + ceil(wanted * foresees.max_capacity_buffer / 100))
    state = replace(state, floors={**state.floors, policy.arn: Floor(given.at_s, wanted, most)})
    if wanted <= given.capacity:
        return state, ()
    wish = Wish(
        policy=policy.name,
        capacity=wanted,
        reason=f"{given.wanted:g} replicas are foreseen to be needed",
        arithmetic=f"ceil({given.wanted:g}) = {wanted}",
        inputs={"wanted": given.wanted},
    )
    cause = words.forecast_cause(policy.name)
    return decide(rules, state, given, Ask(wish=wish, arn="", is_out=True, cause=cause, base=given.capacity))
