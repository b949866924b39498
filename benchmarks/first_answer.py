"""Register to first answer: a new model for a running server, until it has answered once, by trimtab and by its best peer.

    python -m benchmarks.first_answer [--models 100] [--no-peer] [--max-ms 11] [--json]

The fraud model (ONNX, 100 trees). trimtab: a multi-model endpoint of one replica; the archive is put under its prefix
(`upload`), and then the model is invoked for the first time (`first answer`: artifact fetched and unpacked, worker taken from
the spares, model loaded, request answered; signatures are off, as nobody else checks any). MLServer: the model's settings
are in its repository already; it is told to load it, and asked (`first answer`: both calls). They take turns in one run,
each over one plain HTTP connection, with a pause in which a spare worker is made ready. Exits 1 when trimtab's median is
over the peer's of the same run; without the peer, when it is over `--max-ms`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.peers import models
from benchmarks.peers.entries.mlserver import MLSERVER
from benchmarks.peers.environments import CannotHave, set_up
from benchmarks.peers.server import Server, running
from trimtab.testing.artifacts import archive
from trimtab.testing.server import ROLE, serving

NAME = "many"
PAUSE_S = 0.25


class Caller:
    """One connection, kept open."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=60)

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
        """The answer's body. RuntimeError for anything but success."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, sent)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {said[:300]!r}")
        return said


class TrimtabSide:
    """Uploads and invokes."""

    def __init__(self, caller: Caller, tar: bytes, body: bytes) -> None:
        self._caller, self._tar, self._body = caller, tar, body

    def first_answer(self, number: int) -> dict[str, float]:
        """Milliseconds, by step."""
        name = f"m{number}.tar.gz"
        began_s = time.perf_counter()
        self._caller.call("PUT", f"/models/many/{name}", self._tar)
        put_s = time.perf_counter()
        self._invoke(name)
        answered_s = time.perf_counter()
        self._invoke(name)
        again_s = time.perf_counter()
        steps = {"upload": put_s - began_s, "first answer": answered_s - put_s, "next answer": again_s - answered_s}
        return {step: 1e3 * seconds for step, seconds in steps.items()}

    def _invoke(self, name: str) -> None:
        path = f"/endpoints/{NAME}/invocations"
        self._caller.call("POST", path, self._body, Content_Type="application/json", X_Amzn_SageMaker_Target_Model=name)


@contextlib.contextmanager
def trimtab(model: models.Model) -> Iterator[TrimtabSide]:
    """A server with an empty multi-model endpoint."""
    with serving("--auth", "none") as server:
        server.s3  # noqa: B018 makes the bucket
        container = {"Image": "trimtab://python", "Mode": "MultiModel", "ModelDataUrl": "s3://models/many/"}
        server.sagemaker.create_model(ModelName=NAME, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        server.create_config(NAME, NAME)
        server.sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
        server.settled(NAME)
        at = urlsplit(server.url)
        assert at.hostname
        assert at.port
        body = models.payload(model.rows[:1])
        yield TrimtabSide(Caller(at.hostname, at.port), archive(model_onnx=model.path.read_bytes()), body)


class PeerSide:
    """Loads by the peer's repository API, and infers."""

    def __init__(self, server: Server) -> None:
        at = urlsplit(server.url)
        assert at.hostname
        assert at.port
        self._caller, self._server = Caller(at.hostname, at.port), server

    def first_answer(self, number: int) -> dict[str, float]:
        """Milliseconds, by step."""
        name = f"m{number}"
        folder = self._server.job.folder / name
        folder.mkdir()
        settings = {"name": name, "implementation": "mlserver_model.Model"}
        (folder / "model-settings.json").write_text(json.dumps(settings))
        began_s = time.perf_counter()
        self._caller.call("POST", f"/v2/repository/models/{name}/load", b"", Content_Type="application/json")
        loaded_s = time.perf_counter()
        self._infer(name)
        answered_s = time.perf_counter()
        self._infer(name)
        again_s = time.perf_counter()
        steps = {
            "load call": loaded_s - began_s,
            "first answer": answered_s - began_s,
            "next answer": again_s - answered_s,
        }
        return {step: 1e3 * seconds for step, seconds in steps.items()}

    def _infer(self, name: str) -> None:
        self._caller.call("POST", f"/v2/models/{name}/infer", self._server.body, Content_Type="application/json")


def rows_of(sides: dict[str, TrimtabSide | PeerSide], count: int) -> dict[str, list[dict[str, float]]]:
    """All models, in turns; the first three are not counted."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(count + 3):
        for name, side in sides.items():
            time.sleep(PAUSE_S)
            found[name].append(side.first_answer(number))
    return {name: rows[3:] for name, rows in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--max-ms", type=float, default=11.0)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        model = models.model("fraud", Path(stack.enter_context(tempfile.TemporaryDirectory())))
        sides: dict[str, TrimtabSide | PeerSide] = {"trimtab": stack.enter_context(trimtab(model))}
        if not arguments.no_peer:
            try:
                set_up(MLSERVER)
                sides["mlserver"] = PeerSide(stack.enter_context(running(MLSERVER, model)))
            except CannotHave as error:
                print(f"mlserver {error}")
        found = rows_of(sides, arguments.models)
    medians = {}
    for name, rows in found.items():
        for step in rows[0]:
            values = [row[step] for row in rows]
            medians[name, step] = float(np.median(values))
            print(f"{name:<10}{step:<14} p50 {medians[name, step]:>7.2f}  p90 {np.percentile(values, 90):>7.2f} ms")
    if arguments.json:
        print(json.dumps(found))
    ours = medians["trimtab", "first answer"]
    limit = medians.get(("mlserver", "first answer"), arguments.max_ms)
    return 0 if ours <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
