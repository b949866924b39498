"""What an endpoint will cost, about: so that the likely ones are simulated first, and the unlikely ones not at all.

Unlike a bound (`bounds.py`), a guess may be wrong either way. Replicas follow the work that comes, as a policy would
have them if it knew it at once, and stay as long as the policy holds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, sqrt
from typing import Final

import numpy as np

from trimtab.advisor.plan.demand import Demand, busy, each_s, most_busy
from trimtab.advisor.plan.schedules import bounds_over, held
from trimtab.advisor.plan.signals import Signal, signal_of
from trimtab.advisor.plan.trials import Pricing
from trimtab.resources.cost import MICRO
from trimtab.sim.load import Floats
from trimtab.sim.world import Mode, Serving, Work

_HOUR_S: Final = 3600.0
_ONE_MINUTE_S: Final = 60.0
_PANIC_S: Final = 6.0
_ALARM_HOLD_S: Final = 900.0  # AWS: AlarmLow waits for a quarter of an hour
SLACK: Final = 0.8  # what is guessed to cost more than 1 / SLACK of the best one is not tried


def unit_of(works: Mapping[str, Work], signal: Signal) -> float:
    """The signal's value of a replica that is always busy and has no queue. Of several works: the mean's."""
    slots = sum(work.slots for work in works.values()) / len(works)
    batch = sum(work.batch for work in works.values()) / len(works)
    if signal is Signal.MINUTE:
        return _ONE_MINUTE_S * slots / (sum(each_s(work) for work in works.values()) / len(works))
    return slots * max(1.0, batch / 2)


def cost_of(
    serving: Serving, demands: Mapping[str, Demand], works: Mapping[str, Work], pricing: Pricing
) -> float | None:
    """Micro-dollars over the simulated time; None where the price is not known."""
    load = busy(demands, works)
    first = next(iter(demands.values()))
    bin_s = first.bin_s
    if serving.mode is Mode.SERVERLESS:
        each = pricing.usd_per_serverless_s(serving.memory_mb)
        slots = next(iter(works.values())).slots
        return None if each is None else each * float(load.sum()) * bin_s * slots * MICRO
    usd = pricing.usd_per_hour(serving.instance_type, serving.mode, is_spot=serving.is_spot)
    return None if usd is None else usd * _replica_s(serving, load, (first.start_s, bin_s), works) * MICRO / _HOUR_S


def _replica_s(serving: Serving, load: Floats, bins: tuple[float, float], works: Mapping[str, Work]) -> float:
    """`bins`: when the first of them begins, and how long they are."""
    start_s, bin_s = bins
    span_s = len(load) * bin_s
    if serving.mode is Mode.BATCH:
        return max(float(load.sum()) * bin_s, serving.start_s)
    tracking = serving.policies[0].tracking if serving.policies else None
    if tracking is None and not serving.schedule:
        return serving.min_replicas * span_s
    least, most = bounds_over(serving, start_s, bin_s, len(load))
    if tracking is None:
        initial = serving.min_replicas if serving.initial_replicas is None else serving.initial_replicas
        return float(held(least, most, initial).sum()) * bin_s
    signal = Signal(signal_of(serving.policies))
    share = tracking.target_value / unit_of(works, signal)
    window_s = _PANIC_S if signal is Signal.EVENT else _ONE_MINUTE_S
    hold_s = _ALARM_HOLD_S
    if signal is Signal.EVENT:
        stat = tracking.stat
        hold_s = float(dict(stat.dimensions).get("StableWindowSeconds", "60")) if stat is not None else 60.0
    mean = rolling_mean(load, max(1, round(window_s / bin_s)))
    wanted = np.ceil(mean / max(share, 1e-9) - 1e-9)
    replicas = np.clip(rolling_max(wanted, max(1, round(hold_s / bin_s))), least, most)
    rises = float(np.maximum(np.diff(replicas), 0.0).sum())
    return float(replicas.sum()) * bin_s + rises * serving.start_s


def rolling_mean(values: Floats, over: int) -> Floats:
    """Of the last `over` values at each."""
    if over <= 1 or not len(values):
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    made: Floats = (sums[ends] - sums[np.maximum(ends - over, 0)]) / over
    return made


def rolling_max(values: Floats, over: int) -> Floats:
    """The largest of the last `over` values at each: windows of doubled length, two of which cover any other."""
    made, length = values.copy(), 1
    while length < over:
        step = min(length, over - length)
        made[step:] = np.maximum(made[step:], made[:-step].copy())
        length += step
    return made


def likely(rungs: tuple[Serving, ...], demands: Mapping[str, Demand], works: Mapping[str, Work]) -> int:
    """Where to begin on a ladder."""
    first = rungs[0]
    if first.mode in (Mode.SERVERLESS, Mode.BATCH):
        return 0
    if first.policies:
        return min(2, len(rungs) - 1)
    bin_s = next(iter(demands.values())).bin_s
    load = busy(demands, works)
    peak = most_busy(load, ceil(_ONE_MINUTE_S / bin_s)) if first.mode is not Mode.ASYNC else float(load.mean())
    needed = peak + 0.5 * sqrt(peak)
    return next((index for index, rung in enumerate(rungs) if rung.min_replicas >= needed), len(rungs) - 1)
