"""From a call that scales out to the first request that the new replica answers, hop by hop, in a whole trimtab.

    python -m benchmarks.scale_out [--births 100] [--rate 500] [--busy 0] [--max-p99-ms 50] [--json]

A real `trimtab serve` on a temporary data directory, the fraud model of examples/fraud, boto3. `trimtab bench` keeps a
constant load on the endpoint, so that the new replica gets a request at once; `--busy N` adds N processes that do
nothing but compute, at the same priority. UpdateEndpointWeightsAndCapacities takes the variant from one replica to two
and back, again and again. Times come from what trimtab itself logs: the worker (its steps, ready, first answer), control
(replica ready, routes). The last hops are of whole milliseconds. Exits 1 when the 99th percentile from decision to first
answer is over the limit.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from trimtab.testing.artifacts import archive
from trimtab.testing.server import PROGRAM, Trimtab, serving

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "fraud"))

NAME = "fraud"
STEPS = ("fork", "import", "load", "warm-up")
_STAMP = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})"
_READY = re.compile(
    _STAMP + r"Z trimtab: ready: fork ([\d.]+) ms, import ([\d.]+) ms, load ([\d.]+) ms, warm-up ([\d.]+) ms; "
    r"([\d.]+) ms after the decision"
)
_FIRST = re.compile(_STAMP + r"Z trimtab: first answer: ([\d.]+) ms; ([\d.]+) ms after the decision")
_PATIENCE_S = 30.0
_LOOK_S = 0.05  # rarely: this process must not compete with what it measures


def model() -> tuple[bytes, bytes]:
    """The archive of the example's model, and one request."""
    from train import load, train  # type: ignore[import-not-found]

    learn, test = load()
    return archive(model_onnx=train(learn)), json.dumps(test.features[:1].tolist()).encode()


@contextmanager
def steady_load(trimtab: Trimtab, body: bytes, rate: float) -> Iterator[None]:
    """`rate` requests/s from another process."""
    argv = [str(PROGRAM), "bench", NAME, "--rate", str(rate), "--pattern", "constant", "--duration", "55m"]
    argv += ["--body", body.decode(), "--content-type", "application/json", "--max-requests", "10000000"]
    argv += ["--data-dir", str(trimtab.data_dir)]
    process = subprocess.Popen(argv, env=trimtab.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def spinning(count: int) -> Iterator[None]:
    """So many processes that want a whole CPU each."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def logs_of(trimtab: Trimtab) -> set[Path]:
    """The logs of all replicas there ever were."""
    return set((trimtab.data_dir / "logs" / NAME).glob("*/*.log"))


def awaited(path: Path, pattern: re.Pattern[str]) -> re.Match[str]:
    """The first line of a log that matches, once it is there."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while (found := pattern.search(path.read_text())) is None:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{path.name} does not say {pattern.pattern}:\n{path.read_text()}")
        time.sleep(_LOOK_S)
    return found


def scale(trimtab: Trimtab, count: int) -> float:
    """Order `count` replicas; the wall time of the call."""
    called_s = time.time()
    trimtab.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=NAME, DesiredWeightsAndCapacities=[{"VariantName": "blue", "DesiredInstanceCount": count}]
    )
    return called_s


def birth(trimtab: Trimtab) -> dict[str, float]:
    """One more replica, until it has answered; then it goes again. Milliseconds by hop."""
    before = logs_of(trimtab)
    seen = trimtab.log_path.stat().st_size
    called_s = scale(trimtab, 2)
    deadline_s = time.monotonic() + _PATIENCE_S
    while not (new := logs_of(trimtab) - before):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no replica was started:\n{trimtab.log_path.read_text()[-2000:]}")
        time.sleep(_LOOK_S)
    ready, first = awaited(next(iter(new)), _READY), awaited(next(iter(new)), _FIRST)
    trimtab.settled(NAME)
    scale(trimtab, 1)
    trimtab.settled(NAME)
    own = trimtab.log_path.read_bytes()[seen:].decode()
    ready_s, first_s = wall_s(ready[1]), wall_s(first[1])
    seen_s = wall_s(one(own, "replica ready"))
    routed_s = wall_s(next(at for at in every(own, "control", "routes") if wall_s(at) >= seen_s))
    to_ready_ms, to_first_ms = float(ready[6]), float(first[3])
    return {
        "call to decision": (first_s - called_s) * 1000 - to_first_ms,
        **{step: float(ready[2 + number]) for number, step in enumerate(STEPS)},
        "the rest until ready": to_ready_ms - sum(float(ready[2 + number]) for number in range(len(STEPS))),
        "decision to ready": to_ready_ms,
        "ready to seen by control": (seen_s - ready_s) * 1000,
        "seen to routes published": (routed_s - seen_s) * 1000,
        "routes to first answer": (first_s - routed_s) * 1000,
        "decision to first answer": to_first_ms,
    }


def every(log: str, process: str, event: str) -> list[str]:
    """When trimtab's own log tells of an event."""
    return [found[1] for found in re.finditer(_STAMP + rf" \w+ +{process} [\w.]+: {event} ", log)]


def one(log: str, event: str) -> str:
    """The first of them."""
    found = every(log, "control", event)
    if not found:
        raise ValueError(f"control does not tell of {event!r}:\n{log}")
    return found[0]


def wall_s(stamp: str) -> float:
    """A log's time (UTC)."""
    return datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp()


def measure(births: int, rate: float, busy: int) -> list[dict[str, float]]:
    """All births, after three that are not counted (page cache)."""
    artifact, body = model()
    with serving() as trimtab:
        trimtab.deploy(NAME, artifact)
        with steady_load(trimtab, body, rate), spinning(busy):
            time.sleep(2)  # until the load has found its pace
            return [birth(trimtab) for _ in range(births + 3)][3:]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--births", type=int, default=100)
    parser.add_argument("--rate", type=float, default=500.0, help="requests/s all the while")
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside it")
    parser.add_argument("--max-p99-ms", type=float, default=50.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure(options.births, options.rate, options.busy)
    hops = {hop: np.array([result[hop] for result in results]) for hop in results[0]}
    p99_ms = float(np.percentile(hops["decision to first answer"], 99))
    if options.json:
        figures = {hop: {f"p{q}_ms": float(np.percentile(v, q)) for q in (50, 99, 100)} for hop, v in hops.items()}
        print(json.dumps({"births": len(results), "rate": options.rate, "busy": options.busy, "hops": figures}))
    else:
        print(
            f"{'hop':<26}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}   ({len(results)} births, {options.rate:g} requests/s)"
        )
        for hop, values in hops.items():
            p50, p99 = np.percentile(values, (50, 99))
            print(f"{hop:<26}{p50:>9.2f}{p99:>9.2f}{values.max():>9.2f}")
    return 0 if p99_ms <= options.max_p99_ms else 1


if __name__ == "__main__":
    sys.exit(main())
