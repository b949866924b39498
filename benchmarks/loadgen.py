"""How fast, how punctual and how dear is the load generator of `trimtab bench`?

    python benchmarks/loadgen.py [--seconds 2] [--rates 1000,5000,20000,40000,80000]

Loads the bare one-process HTTP server of benchmarks/dataplane.py (which does the least that a server in Python can do) with
one generating process, signed requests of 512 B, at rising constant rates. For each rate: what was answered, the lag of the
generator (how late requests left), latency from the intended time, and CPU microseconds per request. Beside it, in the same
run, wrk as fast as it can (closed loop, 64 connections): what a C client gets out of this server here.

Goal: one process drives 20,000 requests/s and is late by less than 1 ms at the median.
"""

from __future__ import annotations

import argparse
import shutil
import sys

from benchmarks.dataplane import SMALL, bare_server, report, throughput
from trimtab.aws.invoker import Invoker
from trimtab.aws.sigv4.signer import Credentials
from trimtab.jobs.loadtest.crew import Crew
from trimtab.jobs.loadtest.outcome import Outcome
from trimtab.jobs.loadtest.patterns import ProfileArrivals, Schedule
from trimtab.jobs.loadtest.payloads import Payload
from trimtab.jobs.loadtest.plan import LoadPlan
from trimtab.jobs.loadtest.profiles import constant

GOAL_PER_S = 20_000
GOAL_LAG_S = 1e-3
KEPT = 0.98  # of the offered rate must be answered in time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="per rate")
    parser.add_argument("--rates", default="1000,5000,20000,40000,80000", help="requests/s, rising")
    options = parser.parse_args()
    best = 0.0
    with bare_server() as (port, _), Crew(1) as crew:
        if shutil.which("wrk"):
            report("wrk, 64 connections, as fast as it can", f"{throughput(port, 2, 64, pin=False):,.0f}/s")
        for rate in map(float, options.rates.split(",")):
            outcome = measured(crew, port, rate, options.seconds)
            show(rate, outcome)
            lag = outcome.tally.lag.quantile(0.5)
            if outcome.achieved_per_s >= KEPT * rate and lag <= GOAL_LAG_S and not outcome.tally.failed:
                best = max(best, rate)
    report("highest rate that it kept", f"{best:,.0f}/s", f"goal >= {GOAL_PER_S:,}/s")
    return 0 if best >= GOAL_PER_S else 1


def measured(crew: Crew, port: int, rate: float, seconds: float) -> Outcome:
    sender = Invoker(f"http://127.0.0.1:{port}", "echo", Credentials("AKIDEXAMPLE", "secret"), "us-east-1")
    schedule = Schedule(ProfileArrivals(constant(rate, seconds), random=False))
    payloads = (Payload(b"x" * SMALL),)
    plan = LoadPlan(
        schedule=schedule, payloads=payloads, timeout_s=5, warm_up_s=0.3, warm_up_rate=rate / 2, max_connections=64
    )
    return Outcome(plan, crew.run(plan, sender))


def show(rate: float, outcome: Outcome) -> None:
    tally = outcome.tally
    latency, lag = tally.latency(), tally.lag
    report(f"{rate:,.0f}/s offered: answered in time", f"{outcome.achieved_per_s:,.0f}/s")
    report("    late by, p50 / p99", f"{lag.quantile(0.5) * 1e6:.0f} / {lag.quantile(0.99) * 1e6:.0f} us")
    report("    latency, p50 / p99", f"{latency.quantile(0.5) * 1e6:.0f} / {latency.quantile(0.99) * 1e6:.0f} us")
    report("    CPU of the generator", f"{tally.cpu_s / max(1, tally.sent) * 1e6:.1f} us", "per request")


if __name__ == "__main__":
    sys.exit(main())
