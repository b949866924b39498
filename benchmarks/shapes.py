"""Random load shapes on a live trimtab: no failed request, never outside the bounds, no oscillation, and the same again.

    python -m benchmarks.shapes [--shapes 200] [--seed 1] [--at-once 8] [--json FILE]

A real `trimtab serve`, boto3's register_scalable_target and put_scaling_policy, real requests. Each shape is drawn from
its own seed: steps, ramps, spikes, sines, bursts and silence for 12 s, Poisson arrivals (open loop); a script that takes
10, 20 or 50 ms; min 0 to 2, max 2 to 4; a target value; the event signal or the 1 s one; cooldowns and the stable window
of 1 to 4 s. Every eighth or so of the 1 s signal's shapes is followed by 70 s of little or no load: its alarm for fewer
replicas takes a minute.

A breach is
  * a request that was not answered 200 with what its endpoint's model says;
  * a count that DescribeEndpoint shows (three times a second), or that is decided, outside [min, max]; at most max run;
  * a scale-in while a change is under way, within ScaleInCooldown of the end of a scale-in, or within the cooldown of the
    scale-out before it (AWS: ScaleOutCooldown; with the event signal, which has none, ScaleInCooldown): so the
    direction cannot change more often than the cooldowns allow. A scale-out ends a scale-in's cooldown, and is held up by
    none but its own: a refusal of one for another cooldown is a breach, too;
  * a start or change that failed, or a change that does not begin where the one before it ended;
  * `trimtab replay`: not the same decisions, bit for bit.

Exits 1 when there is any.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import uvloop
from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

from benchmarks import openloop
from benchmarks.scaling import scale, tracking
from trimtab.resources.scaling import SIGNAL_1S, SIGNAL_EVENT
from trimtab.testing.artifacts import script
from trimtab.testing.server import Trimtab, serving

SLEEPS = """
import time

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    time.sleep({seconds})
    return body[::-1], content_type
"""
SERVICES_S = (0.01, 0.02, 0.05)
LENGTH_S = 12.0
TAIL_S = 70.0  # after every eighth or so shape of the 1 s signal
MOST_PER_S = 150.0  # of one shape: eight of them, and the server, share the machine
KINDS = ("step", "ramp", "spike", "sine", "burst", "silence")
LOOK_S = 0.33
EXACT_S = 0.005  # times in activities and decisions are of the same clock, and rounded
PATIENCE_S = 30.0
JUDGES = 2  # `trimtab explain` and `trimtab replay` beside the load that goes on


class Part(Struct, frozen=True):
    """A stretch of a shape: a rate per second that goes from `low` to `high` as `kind` says."""

    kind: str
    seconds: float
    low: float
    high: float

    def rate(self, at: float) -> float:
        """Requests per second when `at` (0 to 1) of it has passed."""
        if self.kind == "ramp":
            return self.low + (self.high - self.low) * at
        if self.kind == "spike":
            return self.high if 0.4 <= at < 0.6 else self.low
        if self.kind == "sine":
            return self.low + (self.high - self.low) * (1 - math.cos(4 * math.pi * at)) / 2
        return {"silence": 0.0, "burst": self.low}.get(self.kind, self.high)


class Shape(Struct, frozen=True, kw_only=True):
    """One draw: the load, the bounds and the policy."""

    name: str
    service_s: float
    least: int
    most: int
    signal: str  # event or 1s
    target: float
    in_cooldown_s: int
    out_cooldown_s: int
    stable_s: int
    parts: tuple[Part, ...]
    tail_s: float
    seed: str

    @property
    def guard_s(self) -> int:
        """How long after a scale-out no scale-in may be."""
        return self.in_cooldown_s if self.signal == "event" else self.out_cooldown_s

    def arrivals(self) -> list[float]:
        """Seconds from the beginning."""
        draw = random.Random(self.seed + "arrivals")
        times: list[float] = []
        began_s = 0.0
        for part in self.parts:
            top, at_s = max(part.low, part.high, 0.1), 0.0
            while (at_s := at_s + draw.expovariate(top)) < part.seconds:
                if draw.random() * top < part.rate(at_s / part.seconds):
                    times.append(began_s + at_s)
            if part.kind == "burst":
                for _ in range(draw.randint(1, 3)):
                    times += [began_s + draw.random() * part.seconds] * draw.randint(5, 30)
            began_s += part.seconds
        return sorted(times)


def drawn(number: int, seed: int) -> Shape:
    """The shape of that number."""
    draw = random.Random(f"{seed}:{number}")
    service_s, least, most = draw.choice(SERVICES_S), draw.randint(0, 2), draw.randint(2, 4)
    can_s = min(most / service_s, MOST_PER_S)
    parts: list[Part] = []
    cuts = sorted(draw.uniform(1.0, LENGTH_S - 1.0) for _ in range(draw.randint(1, 4)))
    for start_s, end_s in zip([0.0, *cuts], [*cuts, LENGTH_S], strict=True):
        low, high = draw.uniform(0.0, 0.15) * can_s, draw.uniform(0.2, 0.85) * can_s
        if draw.random() < 0.5 and parts and parts[-1].kind == "ramp":
            low, high = high, low  # down again
        parts.append(Part(draw.choice(KINDS), end_s - start_s, low, high))
    signal = draw.choice(("event", "event", "1s"))
    tail_s = TAIL_S if signal == "1s" and draw.random() < 0.125 else 0.0
    if tail_s:
        parts.append(Part("step", tail_s, 0.0, draw.choice((0.0, 1.0))))
    return Shape(
        name=f"shape-{number}",
        service_s=service_s,
        least=least,
        most=most,
        signal=signal,
        target=round(draw.uniform(0.4, 2.0), 2),
        in_cooldown_s=draw.randint(1, 4),
        out_cooldown_s=draw.randint(1, 4),
        stable_s=draw.randint(1, 4),
        parts=tuple(parts),
        tail_s=tail_s,
        seed=f"{seed}:{number}",
    )


class Found(Struct, kw_only=True):
    """What came of one shape."""

    shape: Shape
    requests: int = 0
    failed: int = 0
    p99_s: float = 0.0
    looks: int = 0
    outs: int = 0
    ins: int = 0
    turns: int = 0
    zeros: int = 0  # decisions for no replica at all
    at_once: int = 0  # scale-outs within a scale-in's cooldown
    spare_s: float | None = None  # the least by which a scale-in came after all cooldowns
    replayed: int = 0  # inputs
    breaches: list[str] = field(default_factory=list)


# --- one shape, live


def policy_of(shape: Shape) -> dict[str, Any]:
    """As its signal tells."""
    is_event = shape.signal == "event"
    return tracking(
        shape.name,
        shape.target,
        signal=SIGNAL_EVENT if is_event else SIGNAL_1S,
        windows={"StableWindowSeconds": str(shape.stable_s)} if is_event else {},
        out_s=shape.out_cooldown_s,
        in_s=shape.in_cooldown_s,
    )


def counts(trimtab: Trimtab, name: str) -> tuple[int, int]:
    """Desired and current, as DescribeEndpoint has them."""
    variant = trimtab.sagemaker.describe_endpoint(EndpointName=name)["ProductionVariants"][0]
    return variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]


def bounds_reached(trimtab: Trimtab, shape: Shape) -> None:
    """Until registration has moved capacity inside the bounds. TimeoutError."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not all(shape.least <= count <= shape.most for count in counts(trimtab, shape.name)):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{shape.name} is not inside its bounds: {counts(trimtab, shape.name)}")
        time.sleep(0.05)


@contextmanager
def watched(trimtab: Trimtab, found: Found) -> Iterator[None]:
    """Look at DescribeEndpoint all the while."""
    over, shape, outside = threading.Event(), found.shape, Counter[str]()

    def look() -> None:
        while not over.wait(LOOK_S):
            desired, current = counts(trimtab, shape.name)
            found.looks += 1
            outside[f"desired {desired}"] += not shape.least <= desired <= shape.most
            outside[f"current {current}"] += not shape.least <= current <= shape.most

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield
        finally:
            over.set()
        looking.result()
    found.breaches += [f"{what}, seen {times} times" for what, times in outside.items() if times]


def ask(trimtab: Trimtab, found: Found) -> None:
    """The shape's requests, and what they were answered."""
    shape, parts = found.shape, urlsplit(trimtab.url)
    times, body = shape.arrivals(), f"{shape.name} asks".encode()
    began_s = time.monotonic()

    async def load() -> openloop.Outcome:
        client = openloop.Client(
            parts.port or 0,
            openloop.request(f"/endpoints/{shape.name}/invocations", body),
            is_right=lambda answer: answer == body[::-1],
            most_connections=1000,
        )
        try:
            return await client.run_at(times, time.perf_counter())
        finally:
            client.close()

    outcome = uvloop.run(load())
    time.sleep(max(0.0, began_s + LENGTH_S + shape.tail_s - time.monotonic()))  # the shape may end in silence
    right = outcome.statuses[200] - outcome.wrong
    found.requests, found.failed = len(times), len(times) - right
    found.p99_s = sorted(outcome.ok_s)[int(0.99 * len(outcome.ok_s))] if outcome.ok_s else 0.0
    if found.failed:
        found.breaches.append(
            f"{found.failed} of {len(times)} requests failed: {dict(outcome.statuses)}, {dict(outcome.refusals)},"
            f" {outcome.wrong} wrong"
        )


def live(trimtab: Trimtab, scaling: Any, shape: Shape) -> tuple[Found, float]:
    """An endpoint and its shape; what clients saw, and when that was over."""
    found = Found(shape=shape)
    trimtab.sagemaker.create_endpoint(EndpointName=shape.name, EndpointConfigName=config_name(shape.service_s))
    trimtab.settled(shape.name)
    scale(scaling, shape.name, shape.least, shape.most, policy_of(shape))
    bounds_reached(trimtab, shape)
    with watched(trimtab, found):
        ask(trimtab, found)
    return found, time.time()


def told(trimtab: Trimtab, found: Found, end_s: float) -> None:
    """What trimtab itself tells of a shape's scaling up to `end_s`, judged; then the endpoint goes."""
    shape, options = found.shape, ("--json", "--to", f"{end_s:.3f}")
    judge(found, json.loads(trimtab.cli("explain", shape.name, *options))["decisions"])
    again = json.loads(trimtab.cli("replay", shape.name, *options, check=False))
    found.replayed = again["inputs"]
    if not again["agrees"] or not again["inputs"]:
        found.breaches.append(f"replay differs: {again['difference']}")
    if again["made"] != found.outs + found.ins:
        found.breaches.append(f"explain tells of {found.outs + found.ins} changes, replay of {again['made']}")
    trimtab.sagemaker.delete_endpoint(EndpointName=shape.name)


# --- judging


def judge(found: Found, decisions: Sequence[dict[str, Any]]) -> None:
    """Count the changes, and write down what ought not to be."""
    shape, last, may_s = found.shape, None, 0.0
    guarded = ""  # by what no scale-in may be before `may_s`
    for one in decisions:
        at_s, before, wanted = one["at_s"], one["before"], one["wanted"]
        what = f"{before} -> {wanted} by {one['policy'] or one['cause']}"
        if not one["made"]:
            if wanted > before and "a cooldown runs" in one["reason"]:
                found.breaches.append(f"{what} was held up by a scale-in's cooldown")
            continue
        grows = wanted > before
        found.outs, found.ins, found.zeros = found.outs + grows, found.ins + (not grows), found.zeros + (not wanted)
        if not shape.least <= wanted <= shape.most:
            found.breaches.append(f"{what}: outside [{shape.least}, {shape.most}]")
        if last is not None:
            found.turns += grows != (last["wanted"] > last["before"])
            if before != last["wanted"]:
                found.breaches.append(f"{what} follows upon {last['before']} -> {last['wanted']}")
            if grows:
                found.at_once += at_s < may_s and guarded == "in"
            else:
                spare_s = at_s - may_s
                found.spare_s = spare_s if found.spare_s is None else min(found.spare_s, spare_s)
                if spare_s < -EXACT_S:
                    found.breaches.append(f"{what}: {-spare_s:.3f} s too early after scaling {guarded}")
        _check_outcome(found, what, one)
        last, guarded = one, "out" if grows else "in"
        took_s = (one["activity"] or {}).get("took_s")
        is_policy = one["policy"] != "" or one["given"].get("kind") == "load"  # bounds have no cooldown
        cooldown_s = (shape.guard_s if grows else shape.in_cooldown_s) if is_policy else 0
        may_s = at_s + (took_s or 0.0) + cooldown_s


def _check_outcome(found: Found, what: str, one: dict[str, Any]) -> None:
    activity = one["activity"]
    if activity is None or activity["status"] not in ("Successful", "Overridden", "InProgress"):
        found.breaches.append(f"{what}: activity {activity}")
    found.breaches += [f"{what}: {start['failure']}" for start in one["starts"] if start.get("failure")]


# --- all of them


def config_name(service_s: float) -> str:
    """Of the config, and the model, that takes so long."""
    return f"takes-{service_s * 1000:.0f}-ms"


def measure(shapes: Sequence[Shape], at_once: int, console: Console) -> list[Found]:
    """Several at a time, the long ones first."""
    with serving("--auth", "none") as trimtab:
        for service_s in SERVICES_S:
            name = config_name(service_s)
            trimtab.create_model(name, script(SLEEPS.format(seconds=service_s)))
            trimtab.create_config(name, name)
        scaling = trimtab.client("application-autoscaling")

        def judged(found: Found, end_s: float) -> Found:
            told(trimtab, found, end_s)
            for breach in found.breaches:
                console.print(f"{found.shape.name}: {breach}", highlight=False)
            return found

        with ThreadPoolExecutor(at_once) as asking, ThreadPoolExecutor(JUDGES) as judging:

            def one(shape: Shape) -> Future[Found]:
                return judging.submit(judged, *live(trimtab, scaling, shape))

            lasting = sorted(shapes, key=lambda shape: -shape.tail_s)
            return [done.result() for done in list(asking.map(one, lasting))]


def report(console: Console, all_found: Sequence[Found]) -> None:
    """A row for each signal and minimum, and one for all."""
    table = Table(title=f"{len(all_found)} random load shapes", title_justify="left")
    columns = ("signal, min", "shapes", "requests", "failed", "p99", "worst p99", "looks", "scale-outs", "scale-ins",
               "to zero", "turns", "most turns", "outs in an in's cooldown", "ins: least spare", "inputs replayed", "breaches")  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    groups = sorted({(found.shape.signal, found.shape.least) for found in all_found})
    for signal, least in groups:
        mine = [found for found in all_found if (found.shape.signal, found.shape.least) == (signal, least)]
        table.add_row(f"{signal}, {least}", *_row(mine))
    table.add_row("all", *_row(all_found))
    console.print(table)


def _row(some: Sequence[Found]) -> list[str]:
    spares = [found.spare_s for found in some if found.spare_s is not None]
    p99s = sorted(found.p99_s for found in some)
    sums = {
        name: sum(getattr(found, name) for found in some)
        for name in ("requests", "failed", "looks", "outs", "ins", "zeros", "turns", "at_once", "replayed")
    }
    return [
        str(len(some)), f"{sums['requests']:,}", str(sums["failed"]), f"{p99s[len(p99s) // 2] * 1000:,.0f} ms",
        f"{p99s[-1] * 1000:,.0f} ms", f"{sums['looks']:,}", str(sums["outs"]), str(sums["ins"]), str(sums["zeros"]),
        str(sums["turns"]), str(max(found.turns for found in some)), str(sums["at_once"]),
        f"{min(spares) * 1000:+,.0f} ms" if spares else "-", f"{sums['replayed']:,}",
        str(sum(len(found.breaches) for found in some)),
    ]  # fmt: skip


def main() -> int:
    """1 on any breach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--only", type=int, nargs="*", help="only the shapes of these numbers")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    console = Console(width=190)
    numbers = options.only or range(options.shapes)
    all_found = measure([drawn(number, options.seed) for number in numbers], options.at_once, console)
    report(console, all_found)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(all_found), indent=1))
    return 1 if any(found.breaches for found in all_found) else 0


if __name__ == "__main__":
    sys.exit(main())
