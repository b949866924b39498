"""Many models on three replicas: where they go, what becomes of one that is hot, and what a lost replica costs.

    python -m benchmarks.hot_models [--models 60] [--gateways 1] [--json FILE]

First by calculation alone: how even placement is, and how many models move when a replica or a model comes. Then a real
`trimtab serve` with a multi-model endpoint of three replicas. A model waits 20 ms for each request, as one that asks
another service: one copy answers 50 a second, and processors do not decide what copies do. Requests come from an
open-loop client at random times (Zipf 0.9 over the models), latency counts from when a request was due.

  1. each model is asked once: how they are spread;
  2. calm: 30 requests/s over all models;
  3. hot: one of them gets 120/s beside that, which is too much for two copies;
  4. cool: it gets 5/s again, which one copy can do: the others get only what finds it at work;
  5. lost: kill -9 of a replica, under the load of (2): failures, and where its models go.

Goals: no failure but of requests in the hands of the killed replica; the hot model has its copies in five seconds, and
the others' p99 stays within 1.5 times; models per replica within 1.25 times the mean.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import uvloop
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks import openloop
from benchmarks.surge import arrivals, ms, quantile
from trimtab.policies.models.placement import SLACK, Member, next_replica, place
from trimtab.testing.artifacts import script
from trimtab.testing.server import ROLE, Trimtab, serving

NAME = "many"
REPLICAS = 3
HOSTS = f"trimtab: models {NAME}/blue"
WORK_S = 0.02
CALM_PER_S, HOT_PER_S, COOL_PER_S = 30.0, 120.0, 5.0
CALM_S, HOT_S, COOL_S = 15.0, 30.0, 60.0
WITHIN_S, OTHERS, ALONE = 5.0, 1.5, 0.8
WORK = f"""
import os, time

def model_fn(model_dir):
    return str(os.getpid()).encode()

def transform_fn(model, body, content_type, accept):
    time.sleep({WORK_S})
    return model, content_type
"""


# --- by calculation ----------------------------------------------------------------------------------------------


def placement_table() -> Table:
    """Models per replica, most against the mean, and what moves."""
    table = Table(title="placement, calculated", title_justify="left")
    for column in (
        "models",
        "replicas",
        "most / mean",
        "a replica more moves",
        "least that must",
        "a model more moves",
    ):
        table.add_column(column, justify="right")
    for count, replicas in itertools.product((30, 300, 3000), (2, 3, 8, 20)):
        models = [f"models/{number:05}.tar.gz" for number in range(count)]
        names = [f"{number:08x}-{number}-1750c9310" for number in range(replicas + 1)]
        before = place(dict.fromkeys(models, 1), names[:-1])
        moved = _moved(before, place(dict.fromkeys(models, 1), names))
        more = _moved(before, place(dict.fromkeys([*models, "another.tar.gz"], 1), names[:-1]))
        held = Counter(replica for chosen in before.values() for replica in chosen)
        even = max(held.values()) * replicas / count
        table.add_row(
            f"{count:,}", str(replicas), f"{even:.2f}", str(moved), f"{count / (replicas + 1):.0f}", str(more)
        )
    return table


def _moved(before: dict[str, tuple[str, ...]], after: dict[str, tuple[str, ...]]) -> int:
    return sum(after[model] != chosen for model, chosen in before.items())


def herd_table(gateways: int = 8, each: int = 30) -> Table:
    """Gateways that place models at the same moment, by the same old view: how many go to the emptiest replica."""
    table = Table(title=f"{gateways} gateways place {each} models each, with one old view", title_justify="left")
    for column in ("replicas", "view", "to the emptiest", "its even share", "by least loaded"):
        table.add_column(column, justify="left" if column == "view" else "right")
    models = [f"models/{number:05}.tar.gz" for number in range(gateways * each)]
    for replicas, (words, models_each, busy) in itertools.product(
        (3, 8), (("one is empty", 50, 0.0), ("one is empty, the others are busy", 50, 8.0))
    ):
        names = [f"{number:08x}-{number}-1750c9310" for number in range(replicas)]
        to_emptiest = Counter[str]()
        for rule, gateway in itertools.product(("hashed", "least"), range(gateways)):
            asked = 0  # each knows what it has asked for itself
            for model in models[gateway * each :][:each]:
                view = [Member(names[0], asked, 0.0, asked)] + [Member(n, models_each, busy) for n in names[1:]]
                least = min(view, key=lambda member: (member.models, member.load)).replica_id
                asked += (next_replica(model, view) if rule == "hashed" else least) == names[0]
            to_emptiest[rule] += asked
        table.add_row(
            str(replicas),
            words,
            str(to_emptiest["hashed"]),
            f"{len(models) / replicas:.0f}",
            str(to_emptiest["least"]),
        )
    return table


# --- a real server -----------------------------------------------------------------------------------------------


class Seen(Struct):
    """Of one stream of requests: (due, latency, who answered) in seconds from the beginning, and failures."""

    began_s: float
    answers: list[tuple[float, float, bytes]] = []
    outcome: openloop.Outcome | None = None

    def part(self, start_s: float, end_s: float) -> list[float]:
        """Latencies of those due then."""
        return [latency_s for due_s, latency_s, _ in self.answers if start_s <= due_s < end_s]

    def answering(self, start_s: float, end_s: float) -> set[bytes]:
        """Which processes answered what was due then."""
        return {who for due_s, _, who in self.answers if start_s <= due_s < end_s}

    @property
    def failed(self) -> dict[str, int]:
        """By kind."""
        assert self.outcome is not None
        missing = self.outcome.sent - sum(self.outcome.statuses.values())
        kinds = {str(status): n for status, n in self.outcome.statuses.items() if status != 200}
        return kinds | ({"no answer": missing} if missing else {})


async def ask(port: int, requests: bytes | Iterator[bytes], times: Sequence[float], began_s: float) -> Seen:
    """Send a request at each of `times` after `began_s`."""
    seen = Seen(began_s)

    def look(body: bytes) -> bool:  # called after `on_ok`, for the same answer
        due_s, latency_s, _ = seen.answers[-1]
        seen.answers[-1] = (due_s, latency_s, body)
        return True

    client = openloop.Client(port, requests, is_right=look, most_connections=2000)
    client.on_ok = lambda due_s, latency_s: seen.answers.append((due_s - began_s, latency_s, b""))
    try:
        seen.outcome = await client.run_at(times, began_s)
    finally:
        client.close()
    return seen


def zipf(count: int, seed: int = 5, exponent: float = 0.9) -> Iterator[int]:
    """Numbers of models, for ever."""
    draw = random.Random(seed)
    weights = [1 / (rank + 1) ** exponent for rank in range(count)]
    while True:
        yield from draw.choices(range(count), weights, k=1000)


class Rig:
    """The endpoint and its models."""

    def __init__(self, trimtab: Trimtab, models: int) -> None:
        self.trimtab = trimtab
        self.models = [f"team/{number:03}.tar.gz" for number in range(models)]
        parts = urlsplit(trimtab.url)
        assert parts.port is not None
        self.port = parts.port
        packed = script(WORK)
        for model in self.models:
            trimtab.upload(packed, f"fleet/{model}")
        container = {
            "Image": "trimtab://python",
            "Mode": "MultiModel",
            "ModelDataUrl": "s3://models/fleet/",
            "Environment": {"TRIMTAB_MODEL_MEMORY_MIB": "4096"},
        }
        trimtab.sagemaker.create_model(ModelName=NAME, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        trimtab.create_config(NAME, NAME, REPLICAS)
        trimtab.sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
        trimtab.settled(NAME)

    def request(self, model: str) -> bytes:
        """One for the open-loop client."""
        target = f"X-Amzn-SageMaker-Target-Model: {model}\r\n"
        return openloop.request(f"/endpoints/{NAME}/invocations", b"[1]", target)

    def mixed(self) -> Iterator[bytes]:
        """Requests for all models but the hot one, the first: most for the next."""
        known = [self.request(model) for model in self.models[1:]]
        return (known[number] for number in zipf(len(known)))

    def placed(self) -> dict[str, set[str]]:
        """Replica -> models that it has ready, as the server tells."""
        found: dict[str, Any] = json.loads(self.trimtab.cli("models", NAME, "--json"))
        placed: dict[str, set[str]] = {replica["id"]: set() for replica in found["replicas"]}
        for row in found["models"]:
            for copy in row["copies"]:
                if copy["state"] == "Ready":
                    placed.setdefault(copy["replica_id"], set()).add(row["model"])
        return placed

    def settled(self, replicas: int = REPLICAS) -> dict[str, set[str]]:
        """`placed`, once there are so many replicas that tell, and it has been the same for a second."""
        before, since_s, deadline_s = self.placed(), time.monotonic(), time.monotonic() + 60
        while time.monotonic() < deadline_s:
            now = self.placed()
            if now != before:
                before, since_s = now, time.monotonic()
            elif len(now) >= replicas and time.monotonic() - since_s > 1.5:
                return now
        raise AssertionError(f"it does not settle: { {replica: len(models) for replica, models in before.items()} }")


def hot_and_cool(rig: Rig) -> tuple[Seen, Seen]:
    """Phases 2 to 4: what the other models' clients saw, and the hot one's."""
    all_s = CALM_S + HOT_S + COOL_S
    others = arrivals([(CALM_PER_S, all_s)], seed=3)
    hot = arrivals([(COOL_PER_S, CALM_S), (HOT_PER_S, HOT_S), (COOL_PER_S, COOL_S)], seed=4)

    async def both() -> tuple[Seen, Seen]:
        began_s = time.perf_counter()
        first = ask(rig.port, rig.mixed(), others, began_s)
        return await asyncio.gather(first, ask(rig.port, rig.request(rig.models[0]), hot, began_s))

    return uvloop.run(both())


def lose_one(rig: Rig, seconds: float = 15.0) -> Seen:
    """Phase 5: what clients saw while a replica was killed in the middle."""
    victim = rig.trimtab.processes(HOSTS)[0].pid

    async def run() -> Seen:
        began_s = time.perf_counter()
        asyncio.get_running_loop().call_later(seconds / 2, os.kill, victim, signal.SIGKILL)
        return await ask(rig.port, rig.mixed(), arrivals([(CALM_PER_S, seconds)], seed=9), began_s)

    return uvloop.run(run())


def copies_after_s(seen: Seen, count: int, start_s: float) -> float | None:
    """Seconds from `start_s` until so many processes had answered."""
    known: set[bytes] = set()
    for due_s, latency_s, who in sorted(seen.answers, key=lambda answer: answer[0] + answer[1]):
        if due_s >= start_s:
            known.add(who)
            if len(known) >= count:
                return due_s + latency_s - start_s
    return None


def share_of_first(seen: Seen, start_s: float, end_s: float) -> float:
    """Of the requests due then: the part that the busiest copy answered."""
    counts = Counter(who for due_s, _, who in seen.answers if start_s <= due_s < end_s)
    return max(counts.values(), default=0) / max(1, counts.total())


def live(console: Console, options: argparse.Namespace) -> dict[str, Any]:
    """All phases; the figures by name."""
    with serving("--auth", "none", "--gateways", str(options.gateways)) as trimtab:
        rig = Rig(trimtab, options.models)
        began_s = time.perf_counter()
        for model in rig.models:
            trimtab.invoke(NAME, b"[1]", TargetModel=model)
        each_s = (time.perf_counter() - began_s) / len(rig.models)
        spread = sorted(len(models) for models in rig.settled().values())
        console.print(f"models per replica {spread}; first answer of each after {ms(each_s)}", highlight=False)
        others, hot = hot_and_cool(rig)
        hot_s, cool_s, end_s = CALM_S, CALM_S + HOT_S, CALM_S + HOT_S + COOL_S
        before = rig.settled()
        lost = lose_one(rig)
        after = rig.settled()
        had = set[str]().union(*(models for replica, models in before.items() if replica not in after))
        inherited = {replica: len(models & had) for replica, models in after.items()}
        return {
            "spread": spread,
            "each_s": each_s,
            "second_copy_s": copies_after_s(hot, 2, hot_s),
            "third_copy_s": copies_after_s(hot, 3, hot_s),
            "hot_p99_s": quantile(hot.part(cool_s - 10, cool_s), 0.99),
            "hot_p50_s": quantile(hot.part(cool_s - 10, cool_s), 0.5),
            "hot_share": share_of_first(hot, cool_s - 10, cool_s),
            "cool_share": share_of_first(hot, end_s - 20, end_s),
            "others_calm_p99_s": quantile(others.part(3, hot_s), 0.99),
            "others_hot_p99_s": quantile(others.part(hot_s, cool_s), 0.99),
            "failed": others.failed | hot.failed,
            "lost_failed": lost.failed,
            "lost_most_s": max(lost.part(0, 1e9), default=0.0),
            "had": len(had),
            "inherited": inherited,
            "requests": sum(len(seen.answers) for seen in (others, hot, lost)),
        }


def report(console: Console, found: dict[str, Any], options: argparse.Namespace) -> None:
    """A table of what was seen."""
    table = Table(
        title=f"{options.models} models, {REPLICAS} replicas, {options.gateways} gateways, {psutil.cpu_count()} cores",
        title_justify="left",
    )
    table.add_column("what")
    table.add_column("seen", justify="right")
    rows = [
        ("models per replica, after each was asked once", ", ".join(map(str, found["spread"]))),
        ("a model's first request, mean", ms(found["each_s"])),
        ("hot: second copy answers after", ms(found["second_copy_s"])),
        ("hot: third copy answers after", ms(found["third_copy_s"])),
        ("hot: its p50 / p99, last ten seconds", f"{ms(found['hot_p50_s'])} / {ms(found['hot_p99_s'])}"),
        (
            "the others' p99, calm / beside the hot one",
            f"{ms(found['others_calm_p99_s'])} / {ms(found['others_hot_p99_s'])}",
        ),
        ("requests to one copy: hot / cool again", f"{found['hot_share']:.0%} / {found['cool_share']:.0%}"),
        ("failed, of all requests before the kill", str(found["failed"] or 0)),
        ("failed when a replica was killed", str(found["lost_failed"] or 0)),
        ("longest answer then", ms(found["lost_most_s"])),
        (f"its {found['had']} models are now, by replica", ", ".join(map(str, found["inherited"].values()))),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)


def reached(found: dict[str, Any]) -> bool:
    """Whether the goals are met."""
    mean = sum(found["spread"]) / REPLICAS
    return (
        not found["failed"]
        and found["third_copy_s"] is not None
        and found["third_copy_s"] <= WITHIN_S
        and found["others_hot_p99_s"] <= OTHERS * found["others_calm_p99_s"]
        and max(found["spread"]) <= SLACK * mean + 1
        and found["cool_share"] >= ALONE
    )


def main() -> int:
    """1 where the goals are missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--calculated", action="store_true", help="the first part only")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    console = Console(width=150)
    console.print(placement_table())
    console.print(herd_table())
    if options.calculated:
        return 0
    found = live(console, options)
    report(console, found, options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0 if reached(found) else 1


if __name__ == "__main__":
    sys.exit(main())
