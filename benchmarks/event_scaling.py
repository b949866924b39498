"""Event scaling against Knative's windows and AWS's one-minute alarms, on simulated queues: `python -m benchmarks.event_scaling`.

Seeded, without a clock; the replicas start in 50 ms for all three. What is compared with is written from its public
description: Knative's autoscaler looks each 2 s at the mean over 60 s, and over 6 s in a panic (twice the target);
target tracking at one-minute means, 3 above the target or 15 below nine tenths of it.
"""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, field
from math import ceil, inf

from tests.unit.policies.queue_world import World, constant, exponential, poisson, target, tracking
from trimtab.policies.scaling.event import observe
from trimtab.policies.scaling.inputs import Load
from trimtab.policies.scaling.wish import Wish


@dataclass
class Means:
    """In hand by seconds, from what is told."""

    told: Load | None = None
    seconds: dict[int, float] = field(default_factory=dict)
    since_s: float = inf
    acted_s: float = 0.0
    panic_s: float = -inf
    wanted: int = 0

    def see(self, given) -> float:
        """Add up; returns the time."""
        self.since_s = min(self.since_s, given.at_s)
        if isinstance(given, Load):
            if self.told is not None:
                span_s = given.at_s - self.told.at_s
                self.seconds[int(given.at_s)] = self.seconds.get(int(given.at_s), 0.0) + given.in_hand * span_s
            self.told = given
        return given.at_s

    def mean(self, now_s: float, length_s: int) -> float:
        """Over the last whole seconds, as far as they were seen."""
        length_s = max(min(length_s, int(now_s - self.since_s)), 1)
        return sum(self.seconds.get(int(now_s) - back, 0.0) for back in range(1, length_s + 1)) / length_s


def knative(keeps, bounds, state, given, *, policy=""):
    """Stable and panic window."""
    means = state if isinstance(state, Means) else Means()
    now_s = means.see(given)
    if now_s - means.acted_s >= 2.0:
        means.acted_s = now_s
        stable, panic = (ceil(means.mean(now_s, length_s) / keeps.target_value) for length_s in (60, 6))
        if panic >= 2 * max(given.capacity, 1):
            means.panic_s = now_s
        if now_s - means.panic_s < 60:
            means.wanted = max(given.capacity, panic, stable)
        else:
            means.wanted = stable if stable or now_s - means.since_s > 60 else given.capacity
    wanted = means.wanted if now_s - means.since_s > 6 else given.capacity
    return means, Wish(policy=policy, capacity=wanted, reason="", arithmetic="")


def one_minute(keeps, bounds, state, given, *, policy=""):
    """AWS's alarms of one minute."""
    means = state if isinstance(state, Means) else Means()
    now_s, wanted = means.see(given), given.capacity
    if now_s // 60 > means.acted_s // 60:
        means.acted_s = now_s
        minutes = [
            sum(means.seconds.get(int(now_s // 60 * 60) - 60 * ago + second, 0.0) for second in range(60)) / 60
            for ago in range(1, 16)
            if now_s // 60 * 60 - 60 * ago >= means.since_s
        ]
        each = [minute / max(given.capacity, 1) for minute in minutes]
        above = len(each) >= 3 and all(value > keeps.target_value for value in each[:3])
        below = len(each) >= 15 and all(value < 0.9 * keeps.target_value for value in each)
        if above or below:
            wanted = max(ceil(minutes[0] / keeps.target_value), 1)
    return means, Wish(policy=policy, capacity=wanted, reason="", arithmetic="")


POLICIES = {"event": observe, "Knative's windows": knative, "one-minute alarms": one_minute}


def quantile(values, share):
    """Of a sample."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def surge(name, service, low, high, enough, seeds, before_s=70.0, after_s=30.0, cooldown_s=0.0):
    """From the first request at the new rate to the wish for enough replicas."""
    print(
        f"\n{name}: {low:g}/s -> {high:g}/s, {enough} replicas are enough, ScaleInCooldown {cooldown_s:g}, {seeds} runs"
    )
    for title, decide in POLICIES.items():
        if decide is one_minute:
            continue  # three minutes at the least, by its definition
        took_s, waits_s, most = [], [], []
        for seed in range(seeds):
            rng = random.Random(seed)
            length_s = before_s + 2 * rng.random()  # not in step with any window
            arrivals = poisson(rng, [(length_s, low), (after_s, high)])
            first = next(index for index, at_s in enumerate(arrivals) if at_s >= length_s)
            world = World(tracking(1.0, cooldown_s), target(1, 8), service, rng, observe=decide)
            world.run(arrivals, length_s + after_s)
            changes = [(change.at_s - arrivals[first], change.wanted) for change in world.changes]
            had = [wanted for at_s, wanted in changes if at_s < 0]
            took_s.append(
                0.0 if had and had[-1] >= enough else next((s for s, n in changes if s >= 0 and n >= enough), inf)
            )
            waits_s += world.waits_s[first:]
            most.append(max((wanted for at_s, wanted in changes if at_s >= 0), default=1))
        within = sum(each_s <= 0.25 for each_s in took_s) / len(took_s)
        print(
            f"  {title:18} p50 {quantile(took_s, 0.5) * 1000:6.0f} ms  p90 {quantile(took_s, 0.9) * 1000:6.0f} ms  "
            f"p99 {quantile(took_s, 0.99) * 1000:6.0f} ms  within 250 ms {within:4.0%}  most replicas "
            f"{sum(most) / len(most):.1f}  wait p99 {quantile(waits_s, 0.99) * 1000:6.0f} ms"
        )


def long_run(name, rates, service, *, bounds=(1, 8), aim=1.0, start_s=0.05, seed=1, cooldown_s=0.0):
    """Replica-hours, waits and changes of direction."""
    until_s = sum(length_s for length_s, _ in rates)
    print(f"\n{name}, {until_s / 3600:.2g} h, ScaleInCooldown {cooldown_s:g}")
    for title, decide in POLICIES.items():
        rng = random.Random(seed)
        world = World(tracking(aim, cooldown_s), target(*bounds), service, rng, observe=decide, start_s=start_s)
        begun_s = time.process_time()
        world.run(poisson(rng, rates), until_s)
        used_s = time.process_time() - begun_s
        turns = sum(
            (a.wanted > a.before) != (b.wanted > b.before)
            for a, b in zip(world.changes, world.changes[1:], strict=False)
        )
        print(
            f"  {title:18} replicas {world.replica_s / until_s:5.2f}  out {sum(c.wanted > c.before for c in world.changes):4}  "
            f"turns {turns:4}  wait mean {sum(world.waits_s) / len(world.waits_s) * 1000:7.1f} ms  "
            f"p99 {quantile(world.waits_s, 0.99) * 1000:7.0f} ms  ({used_s / world.calls * 1e6:.0f} us a call, with the queue)"
        )


def main() -> None:
    """All of it: some two minutes."""
    surge("50 ms, constant", constant(0.05), 1.5, 30, 2, 300)
    for cooldown_s in (60.0, 300.0):
        surge("50 ms, constant", constant(0.05), 1.5, 30, 2, 300, cooldown_s=cooldown_s)
    surge("50 ms, exponential", exponential(0.05), 1.5, 30, 2, 300)
    surge("0.25 ms, constant", constant(0.00025), 400, 8000, 3, 5, before_s=15, after_s=4)
    for cooldown_s in (0.0, 60.0, 300.0):
        long_run("1.5/s of 50 ms", [(7200, 1.5)], constant(0.05), cooldown_s=cooldown_s)
    long_run("30/s of 50 ms", [(3600, 30)], constant(0.05))
    long_run("30/s of 50 ms exponential", [(3600, 30)], exponential(0.05))
    long_run("surge of ten minutes", [(1200, 1.5), (600, 30)], constant(0.05))
    long_run("a burst of 1 s each 20 s", [(1, 40), (19, 0.5)] * 180, constant(0.05))
    long_run("a wave of 40 minutes", [(20, 50 - abs(60 - n) * 0.8) for n in range(120)], constant(0.05))
    long_run(
        "a wave, starts take 30 s", [(20, 50 - abs(60 - n) * 0.8) for n in range(120)] * 2, constant(0.05), start_s=30
    )
    long_run("a queue while starts take 30 s", [(300, 2), (900, 60)], constant(0.05), bounds=(1, 40), start_s=30)


if __name__ == "__main__":
    sys.exit(main())
