"""A heap of times, each with a number, in two arrays. Machine code; who calls makes sure that there is room."""

from __future__ import annotations

from trimtab.sim.kernels.compiled import compiled
from trimtab.sim.load import Floats
from trimtab.sim.world import Ints


@compiled
def push(times: Floats, numbers: Ints, count: int, at_s: float, number: int) -> int:
    """One more; returns how many there are."""
    child = count
    while child > 0:
        parent = (child - 1) >> 1
        if times[parent] <= at_s:
            break
        times[child], numbers[child] = times[parent], numbers[parent]
        child = parent
    times[child], numbers[child] = at_s, number
    return count + 1


@compiled
def drop(times: Floats, numbers: Ints, count: int) -> int:
    """Take the earliest out; returns how many are left."""
    left = count - 1
    at_s, number = times[left], numbers[left]
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= left:
            break
        if child + 1 < left and times[child + 1] < times[child]:
            child += 1
        if at_s <= times[child]:
            break
        times[parent], numbers[parent] = times[child], numbers[child]
        parent = child
    times[parent], numbers[parent] = at_s, number
    return left
