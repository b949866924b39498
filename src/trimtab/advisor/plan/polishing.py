"""Small changes to the best endpoint that was found, or that was there: one thing at a time, kept where it saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from trimtab.advisor.plan.ladders import Place, Search
from trimtab.advisor.plan.limits import Limits, least_replicas
from trimtab.advisor.plan.signals import HEADROOM, PATIENCE, STABLE, Signal, changed, settings_of, signal_of
from trimtab.advisor.plan.trials import Trial
from trimtab.resources.scaling import ScalingPolicy
from trimtab.sim.world import Serving

_PATIENT: Final = 0.3  # of the SLO's time, at first;
_MORE_PATIENT: Final = 1.25  # times that from then on
_ROOM: Final = "0.95"  # of the swells that come while a replica starts


def polish(best: Trial, place: Place, limits: Limits) -> Search:
    """One thing at a time: a replica fewer at the least, a shorter memory, no headroom, callers that wait, a higher
    target; kept where it saves."""
    current = best
    for change in (_fewer, _quicker, _leaner, _patient(place), _busier):
        while True:
            serving = change(current.serving, limits)
            if serving is None or serving == current.serving:
                break
            trial = yield serving
            if trial is None or trial.rank >= current.rank:
                break
            current = trial
    return current


def _fewer(serving: Serving, limits: Limits) -> Serving | None:
    least = least_replicas(limits, serving.mode)
    if not serving.policies or serving.min_replicas <= least:
        return None
    return replace(serving, min_replicas=serving.min_replicas - 1)


def _quicker(serving: Serving, limits: Limits) -> Serving | None:
    """In sooner: a shorter cooldown, and with events a shorter stable window."""
    tracking = serving.policies[0].tracking if serving.policies else None
    signal = _signal(serving)
    if tracking is None or signal is None or tracking.scale_in_cooldown_s <= 0:
        return None
    settings = {STABLE: "30"} if signal is Signal.EVENT else {}
    return _with_first(serving, changed(serving.policies[0], scale_in_s=0.0, settings=settings))


def _leaner(serving: Serving, limits: Limits) -> Serving | None:
    """With events: nothing kept for the usual rise. Where the SLO lets requests wait for a start, that is the largest
    part of what event scaling costs too much (docs/decisions/018-oracle.md)."""
    tracking = serving.policies[0].tracking if serving.policies else None
    if tracking is None or _signal(serving) is not Signal.EVENT or HEADROOM in settings_of(tracking):
        return None
    return _with_first(serving, changed(serving.policies[0], settings={HEADROOM: "0"}))


def _patient(place: Place) -> Callable[[Serving, Limits], Serving | None]:
    """With events: replicas follow what waits, and callers wait for a growing part of the time that the SLO leaves.
    Room for what usually swells costs less than it saves: they can wait for longer (docs/decisions/018-oracle.md)."""
    within_s = min((workload.slo.within_s for workload in place.workloads if workload.slo is not None), default=0.0)

    def change(serving: Serving, _limits: Limits) -> Serving | None:
        tracking = serving.policies[0].tracking if serving.policies else None
        if tracking is None or _signal(serving) is not Signal.EVENT:
            return None
        told = settings_of(tracking).get(PATIENCE)
        wait_s = float(told) * _MORE_PATIENT if told else within_s * _PATIENT
        if not 0 < wait_s < within_s:
            return None
        settings = {HEADROOM: _ROOM, PATIENCE: f"{wait_s:g}"}
        return _with_first(serving, changed(serving.policies[0], settings=settings))

    return change


def _busier(serving: Serving, limits: Limits) -> Serving | None:
    tracking = serving.policies[0].tracking if serving.policies else None
    if tracking is None or _signal(serving) is None:
        return None
    return _with_first(serving, changed(serving.policies[0], target=tracking.target_value * 1.12))


def _with_first(serving: Serving, policy: ScalingPolicy) -> Serving:
    """With this instead of its first policy, beside all its others."""
    return replace(serving, policies=(policy, *serving.policies[1:]))


def _signal(serving: Serving) -> Signal | None:
    try:
        return Signal(signal_of(serving.policies))
    except ValueError:
        return None
