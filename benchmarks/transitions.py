"""Requests lost while things change, under constant load from 16 boto3 clients, 30 s each.

    python -m benchmarks.transitions [--seconds 30]

Every part starts a fresh trimtab with an echo endpoint. Failures are counted as the clients see them, without retries.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from collections.abc import Callable

import psutil
from rich.console import Console
from rich.table import Table

from trimtab.testing.artifacts import ECHO, script
from trimtab.testing.load import Load, load
from trimtab.testing.server import Trimtab, serving

NAME = "echo"
WORKERS = f"trimtab: worker {NAME}/blue"


def update(trimtab: Trimtab, number: int) -> float:
    """One UpdateEndpoint between two configs; seconds until it is in service again."""
    began_s = time.monotonic()
    trimtab.sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName=f"{NAME}-{number % 2}")
    trimtab.settled(NAME)
    return time.monotonic() - began_s


def kill(title: str, count: int) -> Callable[[Trimtab, int], float]:
    """kill -9 of one process; seconds until there are `count` of them again, none of them the victim.

    For a worker: until its replacement is in the routes, by trimtab's own record; 16 clients keep this process from
    looking in time.
    """

    def strike(trimtab: Trimtab, number: int) -> float:
        victim = trimtab.processes(title)[0]
        struck_s, began_s = time.time(), time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        while len([p for p in trimtab.processes(title) if p.pid != victim.pid]) < count:
            time.sleep(0.002)
        took_s = time.monotonic() - began_s
        return back_in_routes_s(trimtab, struck_s) if title == WORKERS else took_s

    return strike


def back_in_routes_s(trimtab: Trimtab, struck_s: float) -> float:
    """Seconds from `struck_s` (wall time) until a replica was put into the routes."""
    while True:
        events = json.loads(trimtab.cli("describe", NAME, "--json"))["events"]
        for event in events:
            if event["what"] == "replica in routing" and event["at_s"] >= struck_s:
                return float(event["at_s"] - struck_s)


PARTS: list[tuple[str, int, int, int, Callable[[Trimtab, int], float]]] = [
    # what, how often, replicas, gateways, event
    ("UpdateEndpoint", 20, 1, 1, update),
    ("kill -9 control", 20, 1, 1, kill("trimtab: control", 1)),
    ("kill -9 nursery", 5, 1, 1, kill("trimtab: nursery", 1)),
    ("kill -9 a worker of 2 replicas", 5, 2, 1, kill(WORKERS, 2)),
    ("kill -9 a gateway of 2", 5, 1, 2, kill("trimtab: gateway", 2)),
]


def run(
    seconds: float, times: int, replicas: int, gateways: int, event: Callable[[Trimtab, int], float]
) -> tuple[Load, list[float]]:
    """One part: load for `seconds`, with the event spread evenly over it."""
    with serving("--gateways", str(gateways)) as trimtab:
        trimtab.deploy(NAME, script(ECHO), count=replicas)
        for i in (0, 1):
            trimtab.create_config(f"{NAME}-{i}", NAME, replicas)
        took_s = []
        with load(trimtab, NAME, clients=16) as generator:
            began_s = time.monotonic()
            for i in range(times):
                time.sleep(max(0.0, began_s + (i + 0.5) * seconds / times - time.monotonic()))
                took_s.append(event(trimtab, i))
            time.sleep(max(0.0, began_s + seconds - time.monotonic()))
    return generator, took_s


def main() -> None:
    """Print the table of docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--only", default="", help="run the parts whose name holds this")
    options = parser.parse_args()
    seconds = options.seconds
    table = Table(title=f"16 boto3 clients, {seconds:.0f} s each, {psutil.cpu_count()} cores")
    for column in ("event", "times", "answered", "failed", "kinds of failure", "back after, median / worst"):
        table.add_column(column)
    for what, times, replicas, gateways, event in (part for part in PARTS if options.only in part[0]):
        generator, took_s = run(seconds, times, replicas, gateways, event)
        failed = sum(generator.failures.values())
        kinds = ", ".join(f"{n} x {kind}" for kind, n in generator.failures.items()) or "-"
        back = f"{sorted(took_s)[len(took_s) // 2] * 1000:.0f} / {max(took_s) * 1000:.0f} ms"
        table.add_row(what, str(times), f"{generator.answers['ok']:,}", str(failed), kinds, back)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
