"""Commitments sized by the past, and what they would have cost: rolling backtests on real traffic.

    python -m benchmarks.commitments

Hourly traffic of each trace of two weeks or more, as replicas that serve it at 85 % (mean 10, 1 at least). A commitment is
sized by the history alone, for a term that follows it, again and again through the trace; regret is what it cost beyond
the best commitment in hindsight. Discounts: those of the price list. Goals: regret <= 5 %, not dearer than on demand in
95 of 100 terms.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.traces import Floats, hourly
from trimtab.advisor.commitments import backtest
from trimtab.advisor.prices.tables import discounts

DAY_H = 24
CASES = {
    # trace: days of history, of a term, between terms
    "taxi": (56, 28, 7),
    "nasa-months": (14, 14, 3),
    "twitter-amzn": (14, 14, 2),
    "twitter-goog": (14, 14, 2),
    "aws-elb": (5, 5, 1),
    "m-large": (5, 5, 1),
    "m-mid": (5, 5, 1),
}
MEAN = 10.0
MOST_REGRET, MOST_WORSE = 0.05, 0.05


def replicas(name: str) -> Floats:
    traffic = hourly(name)
    return np.maximum(traffic / traffic.mean() * MEAN, 1.0)


def main() -> int:
    offs = sorted({float(one.off) for one in discounts()})
    print(
        f"{'trace':13} {'history/term':>12} {'discount':>8} {'terms':>5} {'cost':>6} {'best':>6} {'regret':>7} {'worst':>7} {'worse':>6}"
    )
    regrets, terms, worse = [], 0, 0
    for name, (history, term, every) in CASES.items():
        usage = replicas(name)
        for off in offs:
            found = backtest(usage, off, history_h=history * DAY_H, term_h=term * DAY_H, step_h=every * DAY_H)
            regrets.append(found.regret)
            terms, worse = terms + found.terms, worse + found.worse_than_on_demand
            print(
                f"{name:13} {f'{history} d/{term} d':>12} {off:8.0%} {found.terms:5} {found.cost:6.3f} {found.hindsight_cost:6.3f}"
                f" {found.regret:7.1%} {found.worst_regret:7.1%} {found.worse_than_on_demand:6}",
                flush=True,
            )
    mean, part = float(np.mean(regrets)), worse / terms
    print(
        f"regret: mean {mean:.1%}, of the worst trace {max(regrets):.1%}; dearer than on demand: {worse} of {terms} terms ({part:.1%})"
    )
    print("cost and best: parts of the cost on demand; worst: of a single term")
    return int(mean > MOST_REGRET or part > MOST_WORSE)


if __name__ == "__main__":
    sys.exit(main())
