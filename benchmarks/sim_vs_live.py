"""The simulator against what it is a model of: recorded scenarios, run live twice and then simulated.

    python -m benchmarks.sim_vs_live [--cases step,diurnal,models,backlog,ocr] [--seconds 30] [--seeds 10] [--json FILE]
                                     [--keep FOLDER | --from FOLDER] [--at-once]

A real `trimtab serve` that asks for no signatures. Each case is driven twice by an open-loop client at the same moments
(a Poisson process; latency counts from when a request was due); `trimtab record` makes a scenario of each time, and that
is simulated, once for each seed (what a request takes is drawn; so is when it came within what is known of that).

  step      the fraud model behind a look-up of 100 ms; 4/s, then 24/s, then 4/s; 1 to 4 replicas by the event policy
  diurnal   the same; one wave from 2/s to 24/s
  models    eight models of which four fit into memory, a load takes 0.3 s; Zipf, 6/s: evictions
  backlog   asynchronous, 0 to 4 replicas by the event policy; 25/s of 100 ms for a sixth of the time, then nothing
  ocr       the document pipeline's model (examples/documents) and its page images, likewise: 0 to 2 replicas, 5/s. It
            needs the environment .venvs/documents, and is left out where that is not there

Compared are the bill (the ledger's), replica-seconds, p50 and p99: each simulation with the run that it was recorded of.
Live against live tells how much of a difference is chance. `trimtab replay` then gives the reducer all recorded inputs
again: its decisions must be the same. Goals: bill and replica-seconds within 2 %, p50 within 5 %, p99 within 10 %, or
within 1.5 times what the two live runs differ by. Ends with 1 where one is missed. 11 minutes by default, at most.

`--keep` keeps what was recorded (scenarios, journals, what models did, the client's latencies), and `--from` simulates
that again, with nothing live. `--at-once` runs all cases at the same time, each with a server of its own: for a machine
with four cores for each of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, to_builtins
from rich.console import Console
from rich.table import Table

from benchmarks import openloop
from benchmarks.sim_live_cases import CASES, ROOT, VARIANT, Case, asks, moments
from trimtab.cli.recorded.metrics import Metrics
from trimtab.metrics.names import TRIMTAB
from trimtab.testing.server import Trimtab, serving

if TYPE_CHECKING:
    from trimtab.aws.client import Client

PRICE_USD_PER_S = 0.115 / 3600  # ml.m5.large
GOALS = {"usd": 0.02, "replica_s": 0.02, "p50_s": 0.05, "p99_s": 0.10}


class Seen(Struct):
    """One run, live or simulated."""

    usd: float
    replica_s: float
    p50_s: float
    p99_s: float
    requests: int
    lost: int
    loads: int = 0


# --- live


class Life(Struct):
    """One endpoint, from its making until it was given up, and what came back to the client. `scaled_s`: its policy is
    there; until then it has one replica."""

    name: str
    start_s: float
    scaled_s: float
    end_s: float
    outcome: openloop.Outcome


def live_through(trimtab: Trimtab, case: Case, number: int, seconds: float) -> Life:
    """Make an endpoint, drive it. Each life of a case lasts as long."""
    port = urlsplit(trimtab.url).port
    assert port is not None
    name = f"sim-{case.name}-{number}"
    start_s = time.time()
    case.deploy(trimtab, name)
    scaled_s = time.time()

    async def run() -> openloop.Outcome:
        client = openloop.Client(port, asks(case, name), is_right=lambda body: True, most_connections=400)
        outcome = await client.run_at(moments(case.rates(seconds), 7), time.perf_counter())
        client.close()
        return outcome

    until(start_s + case.settle_s)
    outcome = asyncio.run(run())
    until(start_s + case.settle_s + seconds + case.rest_s)
    made = trimtab.sagemaker.describe_endpoint(EndpointName=name)["CreationTime"].timestamp()
    return Life(name, made, scaled_s, time.time(), outcome)


def until(moment_s: float) -> None:
    """Wait. A life that takes longer than planned is not like the other one."""
    left_s = moment_s - time.time()
    if left_s < -0.1:
        print(f"  late by {-left_s:.1f} s", file=sys.stderr)
    time.sleep(max(0.0, left_s))


def stamp(moment_s: float) -> str:
    """As a scenario has it."""
    return datetime.fromtimestamp(moment_s, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def seen_of(trimtab: Trimtab, case: Case, life: Life, folder: Path) -> tuple[float, Seen]:
    """When it was deleted (the ledger closes its account then), and what it was by the server's own figures."""
    from trimtab.cli.connect import connect

    client = connect(trimtab.data_dir)
    told_of(client, life, case, folder)
    loads = 0
    if case.models:
        events = client.get(f"endpoints/{life.name}/models/events", last="100000")["events"]
        loads = sum(event["what"] == "loaded" for event in events)
    trimtab.sagemaker.delete_endpoint(EndpointName=life.name)
    gone_s = time.time()
    micro_usd, same = -1, 0
    while same < 4:  # charges come some seconds after the time that they are for
        time.sleep(1.0)
        total = client.get("costs", since=f"{life.start_s - 7200:.0f}", by="endpoint", endpoint=life.name)
        now = sum(row["micro_usd"] for row in total["rows"])
        same = same + 1 if now == micro_usd and now > 0 else 0
        micro_usd = now
    metrics = Metrics(client, life.name, VARIANT, life.start_s, life.end_s, time.time())
    namespace, name, unit_s = TRIMTAB, "Latency", 1e6
    if case.is_async:
        namespace, name, unit_s = "AWS/SageMaker", "TotalProcessingTime", 1e3
    p50, p99 = metrics.whole([(namespace, name, "p50"), (namespace, name, "p99")])
    return gone_s, Seen(
        usd=micro_usd / 1e6, replica_s=micro_usd / 1e6 / PRICE_USD_PER_S, p50_s=(p50 or math.nan) / unit_s,
        p99_s=(p99 or math.nan) / unit_s, requests=sum(life.outcome.statuses.values()),
        lost=sum(count for status, count in life.outcome.statuses.items() if status not in (200, 202)), loads=loads,
    )  # fmt: skip


# --- simulated


def recorded(trimtab: Trimtab, life: Life, folder: Path) -> Path:
    """The scenario that `trimtab record` makes of a life."""
    path = folder / f"{life.name}.yaml"
    trimtab.cli("record", life.name, "--from", f"{life.start_s:.3f}", "--to", f"{life.end_s:.3f}", "-o", str(path))
    return path


def simulated(path: Path, seeds: int, before_s: float) -> list[Seen]:
    """A scenario, with so many seeds; and `before_s` of the one replica that was there before it."""
    from trimtab.cli.simulating.running import loaded, run

    scenario = loaded(path).scenario
    found = []
    for seed in range(seeds):
        done = run(scenario, scenario.architectures, seed=seed, region=scenario.region, quiet=True).tried[0]
        p50_s, _, p99_s = done.latencies_s
        used = done.outcome.used[0]
        found.append(
            Seen(
                usd=done.bill.of_endpoint(used.endpoint) / 1e6 + before_s * PRICE_USD_PER_S,
                replica_s=used.replica_s + before_s, p50_s=p50_s, p99_s=p99_s,
                requests=sum(one.requests for one in done.outcome.served),
                lost=sum(one.refused + one.failed for one in done.outcome.served), loads=used.loads,
            )
        )  # fmt: skip
    return found


def compared(live: Sequence[Seen], made: Sequence[Sequence[Seen]]) -> dict[str, dict[str, Any]]:
    """Each figure: how far simulations are from their live runs on average, and how far these are from each other."""
    found = {}
    for name, goal in GOALS.items():
        was = [getattr(one, name) for one in live]
        ours = [sum(getattr(one, name) for one in seeds) / len(seeds) for seeds in made]
        middle = sum(was) / len(was)
        off = sum(abs(one - other) / other for one, other in zip(ours, was, strict=True)) / len(was)
        spread = (max(was) - min(was)) / middle
        found[name] = {
            "live": was,
            "simulated": ours,
            "off": off,
            "spread": spread,
            "goal": goal,
            "kept": off <= goal or off <= 1.5 * spread,
        }
    return found


class Kept(Struct):
    """One life, as it is kept in a folder beside its scenario (`NAME.yaml`). `before_s`: of its first replica, before
    the time that its scenario begins with."""

    name: str
    before_s: float
    seen: Seen
    decisions_agree: bool
    client_s: list[float]


def lived(case: Case, seconds: float, folder: Path) -> list[Kept]:
    """Two lives of a case, in a server of its own. Their scenarios are in the folder."""
    kept = []
    with serving("--auth", "none", program=case.program) as trimtab:
        for number in range(2):
            life = live_through(trimtab, case, number, seconds)
            time.sleep(4.0)  # until the last second's metrics are there
            path = recorded(trimtab, life, folder)
            agrees = True
            if not case.models:
                agrees = bool(json.loads(trimtab.cli("replay", life.name, "--last", "1h", "--json"))["agrees"])
            gone_s, found = seen_of(trimtab, case, life, folder)
            between(path, life.scaled_s, gone_s)
            kept.append(Kept(life.name, life.scaled_s - life.start_s, found, agrees, life.outcome.ok_s))
        (folder / f"{case.name}.json").write_bytes(msgspec.json.encode(kept))
    return kept


def told_of(client: Client, life: Life, case: Case, folder: Path) -> None:
    """What the server knows of a life, beside its scenario."""
    journal = client.lines(f"endpoints/{life.name}/scaling", variant=VARIANT, start=repr(life.start_s - 60))
    (folder / f"{life.name}.journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in journal))
    reports = client.get(f"endpoints/{life.name}/requests", variant=VARIANT)["reports"]
    (folder / f"{life.name}.requests.json").write_text(json.dumps(reports))
    if case.models:
        models = {
            "page": client.get(f"endpoints/{life.name}/models"),
            "events": client.get(f"endpoints/{life.name}/models/events", last="100000")["events"],
        }
        (folder / f"{life.name}.models.json").write_text(json.dumps(models))


def measure(case: Case, seconds: float, seeds: int, folder: Path, *, is_kept: bool) -> dict[str, Any]:
    """One case: lived through, or as it `is_kept` in the folder."""
    if is_kept:
        kept = msgspec.json.decode((folder / f"{case.name}.json").read_bytes(), type=list[Kept])
    else:
        kept = lived(case, seconds, folder)
    made = [simulated(folder / f"{one.name}.yaml", seeds, one.before_s) for one in kept]
    return {
        "case": case.name,
        "live": [to_builtins(one.seen) for one in kept],
        "simulated": [[to_builtins(one) for one in seeds_of] for seeds_of in made],
        "compared": compared([one.seen for one in kept], made),
        "decisions_agree": all(one.decisions_agree for one in kept),
    }


def at_once(names: Sequence[str], options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Each case in a process of its own."""
    running = []
    for name in names:
        path = folder / f"{name}.found.json"
        argv = [sys.executable, "-m", "benchmarks.sim_vs_live", "--cases", name, "--json", str(path)]
        argv += ["--seconds", str(options.seconds), "--seeds", str(options.seeds), "--keep", str(folder)]
        with (folder / f"{name}.log").open("wb") as log:
            running.append((name, path, subprocess.Popen(argv, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)))
    found = []
    for name, path, process in running:
        process.wait()
        if not path.exists():
            print(f"{name} has failed:\n{(folder / f'{name}.log').read_text()}", file=sys.stderr)
            continue
        found += json.loads(path.read_text())
        report(found[-1])
    return found


def between(path: Path, start_s: float, end_s: float) -> None:
    """A scenario is of whole seconds, and ends when it was recorded. Its policies were there from then until the endpoint
    was deleted, and nothing came before or behind."""
    text = re.sub(r"from: '[^']*'", f"from: '{stamp(start_s)}'", path.read_text())
    path.write_text(re.sub(r"until: '[^']*'", f"until: '{stamp(end_s)}'", text))


def report(found: dict[str, Any]) -> None:
    """All figures of one case."""
    print(f"\n{found['case']}: decisions on recorded inputs {'identical' if found['decisions_agree'] else 'DIFFER'}")
    for name, one in found["compared"].items():
        pairs = "  ".join(f"{was:.4g} / {ours:.4g}" for was, ours in zip(one["live"], one["simulated"], strict=True))
        print(f"  {name:10} live / simulated {pairs}: off {one['off']:.1%}, live runs {one['spread']:.1%} apart")
    for label, runs in (("live", found["live"]), ("simulated", [seeds[0] for seeds in found["simulated"]])):
        said = (f"{one['requests']} requests, {one['lost']} lost, {one['loads']} loads" for one in runs)
        print(f"  {label:10} " + "; ".join(said), flush=True)


def conclude(all_found: Sequence[dict[str, Any]]) -> bool:
    """A row a case: what was kept, and what was missed. Whether all was kept."""
    table = Table(title="How far simulations are from live (live runs from each other)", title_justify="left")
    for column in ("case", "dollars", "replica-seconds", "p50", "p99", "decisions"):
        table.add_column(column, no_wrap=True)
    table.add_row("goal, or 1.5 x the live runs'", *(f"{goal:.0%}" for goal in GOALS.values()), "identical")
    for found in all_found:
        cells = []
        for one in found["compared"].values():
            cells.append(f"{one['off']:.1%} ({one['spread']:.1%}) {'met' if one['kept'] else 'MISSED'}")
        table.add_row(found["case"], *cells, "identical" if found["decisions_agree"] else "DIFFER")
    Console(width=140).print(table)
    figures = [one["kept"] for found in all_found for one in found["compared"].values()]
    return all(figures) and all(found["decisions_agree"] for found in all_found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--keep", type=Path)
    where.add_argument("--from", type=Path, dest="kept")
    parser.add_argument("--at-once", action="store_true")
    options = parser.parse_args()
    # For programs of other environments, which may have another trimtab.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    names = options.cases.split(",")
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"there is no case {unknown[0]}; there are {', '.join(CASES)}")
    if options.kept:
        lacking = [name for name in names if not CASES[name].missing and not (options.kept / f"{name}.json").is_file()]
        if lacking:
            parser.error(f"{options.kept} has no {', '.join(f'{name}.json' for name in lacking)}: --keep writes them")
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.kept or options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = tried(names, options, folder)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    print()
    is_met = conclude(found)
    print(f"{time.monotonic() - began_s:.0f} s")
    return 0 if is_met else 1


def tried(names: list[str], options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Those that can be tried here."""
    there, found = [], []
    for name in names:
        if CASES[name].missing:
            print(f"\n{name} is left out: {CASES[name].missing}", flush=True)
        else:
            there.append(name)
    if options.at_once:
        return at_once(there, options, folder)
    for name in there:
        found.append(measure(CASES[name], options.seconds, options.seeds, folder, is_kept=bool(options.kept)))
        report(found[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
