"""What a policy asks for, and what comes of it: the one place where a wish becomes a decision."""

from __future__ import annotations

from math import inf
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
    """Why an ask is not followed. `kind` names the reason in State.told; `scaled` is how AWS says it."""

    kind: str
    reason: str
    scaled: NotScaled | None = None


def decide(rules: Rules, state: State, given: Input, ask: Ask) -> Result:
    """Follow `ask` as far as bounds, cooldowns, suspensions and other policies allow, or say why not."""
    low, high = limits.bounds(rules, state, given.at_s)
    if ask.is_out:
        wanted = min(ask.wish.capacity, high)
        refusal = _no_more(rules, state, given, ask, high)
        if refusal:
            return _refused(state, given, ask, max(wanted, given.capacity), refusal)
        return _made(state, given, ask, wanted)
    agreed = others(rules, state, given, ask.arn, ask.wish.capacity, by_step=ask.by_step)
    wanted = min(max(agreed.capacity, low), high)
    refusal = _no_less(rules, state, given, ask, low, wanted, agreed)
    if refusal:
        return _refused(state, given, ask, min(ask.wish.capacity, given.capacity), refusal)
    return _made(state, given, ask, wanted, agreed.why if agreed.capacity == wanted else "")


def _no_more(rules: Rules, state: State, given: Input, ask: Ask, high: int) -> _No | None:
    """Why capacity does not grow as asked; None: it does."""
    has, wish = given.capacity, ask.wish.capacity
    on_load = isinstance(given, Load | Tick)  # sees what was added: no cooldown need keep it from asking twice
    cooling = limits.cooling_out(state, given.at_s) if ask.arn and not on_load else None
    if wish > has >= high:
        return _No("max", f"it has {has}, and may have {high} at most", _scaled("AlreadyAtMaxCapacity", has, high=high))
    if cooling is not None:
        added = f"the scale-out from {cooling.before} to {has}"
        if ask.base < has and wish <= has:
            return _No("cooldown", f"{added} counts as already there")
        if ask.base == has and has < wish <= 2 * has - cooling.before:
            return _No("cooldown", f"{added} has its cooldown, and this is no larger one")
    if wish <= has:
        return _No("content", f"it has {has} already", _scaled("AlreadyAtDesiredCapacity", has))
    if rules.target.suspended.scale_out:
        return _No("suspended", "scaling out is suspended")
    pause_s = limits.retry_in_s(state, given.at_s)
    if on_load and pause_s > 0:
        return _No("failed", f"the last scale-out failed ({state.failures} in a row): again in {pause_s:.3g} s")
    return None


def _no_less(rules: Rules, state: State, given: Input, ask: Ask, low: int, wanted: int, agreed: Others) -> _No | None:
    """Why capacity does not shrink as asked; None: it does."""
    has = given.capacity
    if has <= low:
        return _No("min", f"it has {has}, the least it may have", _scaled("AlreadyAtMinCapacity", has, low=low))
    if ask.wish.capacity >= has:
        if ask.by_step:
            return _No("content", f"it has {has} already", _scaled("AlreadyAtDesiredCapacity", has))
        # Less than the target, but with one replica fewer it would be more.
        return _No("content", f"{has - 1} would be too few", _scaled("AutoScalingAnticipatedFlapping", has))
    if rules.target.suspended.scale_in:
        return _No("suspended", "scaling in is suspended")
    left_s = limits.cooling_in_s(state, given.at_s)
    if left_s > 0:
        return _No("cooldown", "a change is under way" if left_s == inf else f"a cooldown runs for {left_s:.3g} s more")
    if wanted >= has:
        return _No("others", agreed.why, _scaled("AutoScalingAnticipatedFlapping", has) if agreed.flaps else None)
    return None


def _scaled(code: str, has: int, *, low: int | None = None, high: int | None = None) -> NotScaled:
    return NotScaled(code=code, max_capacity=high, min_capacity=low, current_capacity=has)


def _refused(state: State, given: Input, ask: Ask, wanted: int, no: _No) -> Result:
    """Say why not; of what load asks for again and again, now and then."""
    if isinstance(given, Load | Tick):
        key = f"{ask.arn}:{'out' if ask.is_out else 'in'}:{no.kind}"
        recent = {which: at_s for which, at_s in state.told.items() if given.at_s - at_s < AGAIN_S}
        if key in recent:
            return state, ()
        state = replace(state, told={**recent, key: given.at_s})
    told = replace(
        _decision(given, ask, wanted, f"{ask.wish.reason}; not done: {no.reason}"),
        not_scaled=() if no.scaled is None else (no.scaled,),
    )
    return state, (told,)


def _made(state: State, given: Input, ask: Ask, wanted: int, why: str = "") -> Result:
    figures = ask.wish.arithmetic
    if wanted != ask.wish.capacity:
        figures += f", at {'most' if wanted < ask.wish.capacity else 'least'} {wanted}"
    reason = f"{ask.wish.reason}; {why}" if why else ask.wish.reason
    decision = replace(_decision(given, ask, wanted, reason), made=True, arithmetic=figures)
    after = limits.changed(state, given.at_s, given.capacity, wanted, ask.out_cooldown_s, ask.in_cooldown_s)
    return after, (decision,)


def _decision(given: Input, ask: Ask, wanted: int, reason: str) -> Decision:
    return Decision(
        at_s=given.at_s,
        before=given.capacity,
        wanted=wanted,
        made=False,
        policy=ask.wish.policy,
        reason=reason,
        arithmetic=ask.wish.arithmetic,
        cause=ask.cause,
        inputs=ask.wish.inputs,
    )
