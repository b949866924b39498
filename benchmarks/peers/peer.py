"""What the harness must know of a server: the contract of `entries`."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.models import Model, payload

PROGRAMS = Path(__file__).parent / "programs"
HOST = "127.0.0.1"

# What trimtab does on the way of each request or around it: the columns of the table of what a peer does not do.
FEATURES = {
    "auth": "checks who calls (off here but in the row with SigV4)",
    "variants": "routes by weight between variants of a model",
    "metering": "counts requests, latencies and errors of each variant",
    "isolation": "runs the model in a process of its own, and starts it again when it dies",
    "updates": "changes a model under load without losing a request",
    "limits": "bounds what may wait, and refuses the rest at once",
    "batching": "puts requests together for the model",
}


@dataclass(frozen=True)
class Job:
    """One start of one server."""

    model: Model
    port: int  # free when the job was made
    folder: Path  # empty, temporary, with a short path (some servers put Unix sockets there)
    python: Path  # of the server's environment


@dataclass(frozen=True)
class Service:
    """How a server is started and asked."""

    argv: Sequence[str]
    path: str  # where it takes requests
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # besides Content-Type: application/json
    encode: Callable[[list[list[float]]], bytes] = payload
    decode: Callable[[bytes], list[float]] = lambda body: _first_row(json.loads(body))
    # Called once the process runs: whatever it takes until the model is served. Raises NotReady while it cannot be done.
    set_up: Callable[[], None] = lambda: None
    # Headers that depend on body and time (a signature); called right before a load starts.
    sign: Callable[[bytes], Mapping[str, str]] = lambda body: {}


class NotReady(Exception):
    """The server cannot take this yet."""


@dataclass(frozen=True)
class Peer:
    """One row of the tables."""

    name: str
    package: str  # whose version is shown; empty for trimtab itself
    configured: str  # in one line
    does: Mapping[str, str]  # of FEATURES: "yes", or how; what is missing it does not do
    service: Callable[[Job], Service]
    environment: str = ""  # the name of its requirements file; empty: the environment of this process
    models: tuple[str, ...] = ("echo", "fraud", "mlp", "mlp-batched")
    needs: tuple[str, ...] = ()  # programs that must be on the PATH
    extra: tuple[str, ...] = ()  # requirements installed by plain pip
    start_timeout_s: float = 60.0
    warm_up_s: int = 2
    start_and_stop_s: float = 2.5  # about; for the estimate of a run's length
    ours: bool = False  # trimtab
    yardstick: bool = False  # no model server: not counted as best peer


def free_port() -> int:
    """A port that nobody listens on, below the kernel's range for clients, which could take it meanwhile.

    Below 32768 also because Multi Model Server takes no higher one.
    """
    while True:
        port = random.randrange(20_000, 32_768)
        with contextlib.suppress(OSError), socket.create_server((HOST, port)):
            return port


def program_env(job: Job) -> dict[str, str]:
    """What `programs/scoring.py` reads."""
    batch = {"BENCH_MAX_BATCH": "32", "BENCH_MAX_DELAY_MS": "3"} if job.model.batched else {}
    return {
        "BENCH_MODEL": job.model.kind,
        "BENCH_MODEL_PATH": str(job.model.path),
        "BENCH_WIDTH": str(job.model.width),
        "BENCH_PORT": str(job.port),
        "PYTHONPATH": str(PROGRAMS),
        **batch,
    }


def under(name: str) -> Callable[[list[list[float]]], bytes]:
    """Rows as the field `name` of a JSON object; `instances` is TensorFlow Serving's V1 protocol, which KServe takes."""
    return lambda rows: b'{"%b":%b}' % (name.encode(), payload(rows))


def tensors(rows: list[list[float]]) -> bytes:
    """The Open Inference Protocol (V2), which Triton and MLServer take."""
    flat = [number for row in rows for number in row]
    tensor = {"name": "rows", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": flat}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()


def tensor(body: bytes) -> list[float]:
    """The first output of a V2 answer."""
    found: list[float] = json.loads(body)["outputs"][0]["data"]
    return found


def field_of(name: str) -> Callable[[bytes], list[float]]:
    """Reads the first row of `name` in a JSON object."""
    return lambda body: _first_row(json.loads(body)[name])


def _first_row(rows: list[list[float]]) -> list[float]:
    return rows[0]
