"""What anybody pays who has to keep every function call without knowing what comes, or how long a call takes.

    python -m benchmarks.oracle_blind [--start 5] [--seed 1]

Of the sample of Azure's function calls (benchmarks/oracle_cases.py) no call may be late, and the longest leaves W =
SLO - its length. Whoever cannot tell how long a call will take, nor whether another one is about to come, and keeps the SLO
whichever of the trace's calls that would be, has at each moment t one replica more than there are calls in hand: else a
call that comes now finds none, and none that can be counted on to become free, until one is ordered, and begins
`start` > W later. That replica may still be starting, but was ordered by t + W - start. In hand are at least the calls
in the time that each takes from its arrival. So as many replicas are paid for as that step function + 1 says, each from
start - W before its step (a gap that is shorter is paid through): summed level by level, that is the least.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.oracle_cases import TRACES
from trimtab.sim.oracle.bound import Asked, Terms
from trimtab.sim.oracle.windows import summed, window_of


def least_s(begin_s: list[float], end_s: list[float], until_s: float, ahead_s: float) -> float:
    """Replica-seconds of one more than there are in hand, each ordered `ahead_s` before it is needed."""
    steps = sorted([(at, 1) for at in begin_s] + [(min(at, until_s), -1) for at in end_s])
    level, total_s, since, left = 0, until_s, {}, {}
    for at_s, up in steps:
        if up > 0:
            level += 1
            since[level] = at_s
            total_s += min(ahead_s, at_s - left[level]) if level in left else min(ahead_s, at_s)
        else:
            total_s += at_s - since[level]
            left[level] = at_s
            level -= 1
    return total_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    case = TRACES["azure-functions"]().part(0, options.seed)
    slo = case.workload.slo
    assert slo is not None
    wait_s = slo.within_s - float(case.service_s.max())
    length_s = case.end_s - case.start_s
    paid_s = least_s(list(case.at_s), list(case.at_s + case.service_s), length_s, max(options.start - wait_s, 0.0))
    window = window_of(
        lambda: [Asked(case.at_s, case.service_s)],
        Terms(start_s=options.start, least=1),
        within_s=slo.within_s,
        start_s=case.start_s,
        end_s=case.end_s,
        threshold_s=float(np.max(case.service_s)),
    )
    bound_s = summed([window], slo.kept)
    print(
        f"{len(case.at_s)} calls, W = {wait_s:.2f} s; clairvoyant bound {bound_s / length_s:.2f} replicas; without"
        f" foresight at least {paid_s / length_s:.2f}: {paid_s / bound_s:.3f} times the bound"
    )


if __name__ == "__main__":
    main()
