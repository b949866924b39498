"""Forecast of an endpoint's load from its own history, and the capacity to have ready for it."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.resources.scaling import Predictive


def forecast(points: Sequence[tuple[float, float]], now_s: float, horizon_s: float) -> list[tuple[float, float]]:
    """(start, load) of each step from the one in which `now_s` lies until `horizon_s` later.

    `points` are (start, load) in steps of equal length (five minutes or an hour), gaps allowed, up to 14 days; empty
    unless they reach over 24 h (AWS's least).
    """
    return []


def wanted(
    policy: Predictive, forecast: Sequence[tuple[float, float]], now_s: float, *, max_capacity: int
) -> float | None:
    """Replicas to have now, before rounding up and the target's lower bound: the most that is forecast from now until
    `policy.buffer_s` later. None: nothing to decide (ForecastOnly, or no forecast)."""
    return None
