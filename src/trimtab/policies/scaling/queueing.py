"""How many replicas a load needs, by queueing theory, so that what is in hand stays at the target."""

from __future__ import annotations

from functools import lru_cache


def in_hand_of(busy: float, replicas: int) -> float:
    """Mean number of requests in hand (M/M/c, Erlang's C) when `busy` replicas' worth of work comes to `replicas`.

    Infinite where the work is more than they can do. Replicas are taken to work on one request at a time.
    """
    if busy >= replicas:
        return float("inf")
    return busy + _queued(busy, replicas, _blocked(busy, replicas))


@lru_cache(maxsize=4096)
def replicas_for(busy: float, target_value: float, most: int) -> int:
    """Fewest replicas that have at most `target_value` requests in hand each, on average, under `busy` replicas' worth
    of work; `most` where so many would not do either. 0 for no work at all."""
    if busy <= 0:
        return 0
    blocked = 1.0
    for replicas in range(1, most):
        blocked = busy * blocked / (replicas + busy * blocked)  # Erlang's B, by recursion
        if busy < replicas and busy + _queued(busy, replicas, blocked) <= target_value * replicas:
            return replicas
    return max(most, 1)


def _blocked(busy: float, replicas: int) -> float:
    blocked = 1.0
    for count in range(1, replicas + 1):
        blocked = busy * blocked / (count + busy * blocked)
    return blocked


def _queued(busy: float, replicas: int, blocked: float) -> float:
    utilization = busy / replicas
    waits = blocked / (1 - utilization * (1 - blocked))  # the probability that one has to wait
    return waits * utilization / (1 - utilization)
