"""What a policy asks for, and what comes of it: the one place where a wish becomes a decision."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from trimtab.policies.scaling import limits
from trimtab.policies.scaling.combine import Others, others
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Input, Load, Tick
from trimtab.policies.scaling.state import State
from trimtab.policies.scaling.wish import Wish
from trimtab.resources.scaling import NotScaled

AGAIN_S: Final = 60.0  # on load, why nothing is done is told so often at most

Result = tuple[State, tuple[Decision, ...]]


class Ask(Struct, frozen=True, kw_only=True):
    """A wish for more (`is_out`) or less, and what its policy brings along.

    `base`: the capacity that it was reckoned from. `by_step`: a step policy asks.
    """

    wish: Wish
    arn: str  # of the policy; "" for what trimtab itself does
    is_out: bool
    cause: str
    base: int
    out_cooldown_s: float = 0.0
    in_cooldown_s: float = 0.0
    by_step: bool = False


class _No(Struct, frozen=True):
    """Why an ask is not followed. `kind` names the reason in State.told; `code` is AWS's NotScaledReason."""

    kind: str
    reason: str
    code: str = ""


def decide(rules: Rules, state: State, given: Input, ask: Ask) -> Result:
    """Follow `ask` as far as bounds, cooldowns, suspensions and other policies allow, or say why not."""
    low, high = limits.bounds(rules, state, given.at_s)
    if ask.is_out:
        wanted = min(ask.wish.capacity, high)
        refusal = _no_more(rules, state, given, ask, wanted, high)
        return _refused(rules, state, given, ask, wanted, refusal) if refusal else _made(state, given, ask, wanted, "")
    agreed = others(rules, state, given, ask.arn, ask.wish.capacity, by_step=ask.by_step)
    wanted = min(max(agreed.capacity, low), high)
    refusal = _no_less(rules, state, given, ask, wanted, low, agreed)
    if refusal:
        return _refused(rules, state, given, ask, min(ask.wish.capacity, given.capacity), refusal)
    return _made(state, given, ask, wanted, agreed.why if wanted > max(ask.wish.capacity, low) else "")


def _no_more(rules: Rules, state: State, given: Input, ask: Ask, wanted: int, high: int) -> _No | None:
    cooling = limits.cooling_out(state, given.at_s) if ask.arn else None
    if wanted <= given.capacity:
        if ask.wish.capacity > given.capacity:
            return _No("max", f"it already has {given.capacity}, and may have {high} at most", "AlreadyAtMaxCapacity")
        if cooling is not None and ask.base < given.capacity:
            return _No("cooldown", f"{_scale_out(given, cooling.before)} counts as already there")
        return _No("content", f"it already has {given.capacity}", "AlreadyAtDesiredCapacity")
    if rules.target.suspended.scale_out:
        return _No("suspended", "scaling out is suspended")
    pause_s = limits.retry_in_s(state, given.at_s)
    if isinstance(given, Load | Tick) and pause_s > 0:
        return _No("failed", f"{state.failures} scale-outs in a row failed: tried again in {pause_s:.3g} s")
    is_event = isinstance(given, Load | Tick)  # sees what was added
    if cooling is not None and not is_event and ask.base == given.capacity:
        added = given.capacity - cooling.before
        if wanted - given.capacity <= added:
            return _No("cooldown", f"{_scale_out(given, cooling.before)} has its cooldown, and this is no larger one")
    return None


def _scale_out(given: Input, before: int) -> str:
    return f"the scale-out from {before} to {given.capacity}"


def _no_less(rules: Rules, state: State, given: Input, ask: Ask, wanted: int, low: int, agreed: Others) -> _No | None:
    if ask.wish.capacity >= given.capacity:
        # Less than the target in all, but one replica fewer would have more than the target.
        return _No("content", f"{given.capacity - 1} would be too few", "AutoScalingAnticipatedFlapping")
    if given.capacity <= low:
        return _No("min", f"it already has {given.capacity}, the least it may have", "AlreadyAtMinCapacity")
    if rules.target.suspended.scale_in:
        return _No("suspended", "scaling in is suspended")
    left_s = limits.cooling_in_s(state, given.at_s)
    if left_s > 0:
        until = "a change is under way" if left_s == float("inf") else f"a cooldown runs for another {left_s:.3g} s"
        return _No("cooldown", until)
    if wanted >= given.capacity:
        return _No("others", agreed.why, agreed.code)
    return None


def _refused(rules: Rules, state: State, given: Input, ask: Ask, wanted: int, no: _No) -> Result:
    """Say why not; of what load asks for again and again, now and then."""
    if isinstance(given, Load | Tick):
        key = f"{ask.arn}:{'out' if ask.is_out else 'in'}:{no.kind}"
        if given.at_s - state.told.get(key, -AGAIN_S) < AGAIN_S:
            return state, ()
        state = replace(state, told={**state.told, key: given.at_s})
    target = rules.target
    not_scaled = NotScaled(
        code=no.code,
        max_capacity=target.max_capacity if no.kind == "max" else None,
        min_capacity=target.min_capacity if no.kind == "min" else None,
        current_capacity=given.capacity,
    )
    return state, (
        Decision(
            at_s=given.at_s,
            before=given.capacity,
            wanted=wanted,
            made=False,
            policy=ask.wish.policy,
            reason=f"{ask.wish.reason}; not done: {no.reason}",
            arithmetic=ask.wish.arithmetic,
            cause=ask.cause,
            inputs=ask.wish.inputs,
            not_scaled=(not_scaled,) if no.code else (),
        ),
    )


def _made(state: State, given: Input, ask: Ask, wanted: int, why: str) -> Result:
    figures = ask.wish.arithmetic
    if wanted != ask.wish.capacity:
        figures += f", at {'most' if wanted < ask.wish.capacity else 'least'} {wanted}"
    decision = Decision(
        at_s=given.at_s,
        before=given.capacity,
        wanted=wanted,
        made=True,
        policy=ask.wish.policy,
        reason=f"{ask.wish.reason}; {why}" if why else ask.wish.reason,
        arithmetic=figures,
        cause=ask.cause,
        inputs=ask.wish.inputs,
    )
    after = limits.changed(state, given.at_s, given.capacity, wanted, ask.out_cooldown_s, ask.in_cooldown_s)
    return after, (decision,)
