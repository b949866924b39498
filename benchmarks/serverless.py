"""Serverless endpoints: how long a cold start takes, and what a warm one adds to a real-time endpoint.

    python -m benchmarks.serverless [--starts 200] [--requests 4000] [--max-p50-ms 40] [--max-p99-ms 150] [--json]

A real `trimtab serve` that asks for no signatures, a plain HTTP/1.1 client. Cold: an endpoint whose model is on the local
disk and of which nothing runs (TRIMTAB_KEEP_WARM=off, so that it is at zero after each request) gets one request; ONNX
(the fraud example's model) and scikit-learn (the same, pickled). Warm: requests to a serverless and to a real-time
endpoint of the same model, in turn, over one connection each; what is compared are the two medians. Exits 1 when a
request failed, or a cold start is over its limits.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.scale_out import model as fraud
from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab, serving

PYTHON = "trimtab://python"
SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
_PATIENCE_S = 30.0
_LOOK_S = 0.02
_LEARNS_S = 10.0
_SILENCE_S = 0.15  # at zero for so long: the spare worker of the next start is there
_SKLEARN = """
import joblib, os

def model_fn(folder):
    return joblib.load(os.path.join(folder, "model.joblib"))
"""


def pickled() -> tuple[bytes, bytes]:
    """The archive of a gradient boosting model as scikit-learn pickles it, and one request."""
    import joblib
    from sklearn.ensemble import GradientBoostingClassifier

    rng = np.random.default_rng(42)
    features = rng.normal(size=(2000, 30)).astype(np.float32)
    labels = (features[:, 0] + features[:, 1] * features[:, 2] > 1).astype(int)
    file = io.BytesIO()
    joblib.dump(GradientBoostingClassifier(random_state=42).fit(features, labels), file)
    packed = archive(model_joblib=file.getvalue(), code__inference_py=_SKLEARN)
    return packed, json.dumps(features[:1].tolist()).encode()


def make(
    trimtab: Trimtab, name: str, artifact: bytes, *, serverless: bool, keep_warm: str, image: str = PYTHON
) -> None:
    """One endpoint, in service."""
    trimtab.create_model(name, artifact, image, TRIMTAB_KEEP_WARM=keep_warm)
    if serverless:
        rules = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
        variant = {"VariantName": "blue", "ModelName": name, "ServerlessConfig": rules}
        trimtab.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    else:
        trimtab.create_config(name, name)
    trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    trimtab.settled(name)


class Client:
    """One connection to one endpoint."""

    def __init__(self, trimtab: Trimtab, name: str, body: bytes) -> None:
        url = urlsplit(trimtab.url)
        self._connection = HTTPConnection(url.hostname or "", url.port, timeout=70)
        self._path, self._body = f"/endpoints/{name}/invocations", body
        self.failed = 0

    def ask_ms(self) -> float:
        """Milliseconds until the whole answer is here."""
        began_s = time.perf_counter()
        self._connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        took_ms = (time.perf_counter() - began_s) * 1000
        if answer.status != 200:
            self.failed += 1
            print(answer.status, text[:200], file=sys.stderr)
        return took_ms


def at_zero(trimtab: Trimtab, name: str) -> None:
    """Until nothing of it runs, and has not for a while."""
    deadline_s = since_s = time.monotonic()
    while time.monotonic() < since_s + _SILENCE_S:
        if trimtab.processes(f"trimtab: worker {name}/"):
            since_s = time.monotonic()
        if time.monotonic() > deadline_s + _PATIENCE_S:
            raise TimeoutError(f"{name} is not at zero")
        time.sleep(_LOOK_S)


def learned(trimtab: Trimtab) -> None:
    """Until the nursery has imported nothing for a while: what it learns of a runtime it learns once, when idle."""
    deadline_s = since_s = time.monotonic()
    before = -1
    while time.monotonic() < since_s + _LEARNS_S:
        imports = trimtab.log_path.read_text().count("learning: imported")
        if imports != before:
            before, since_s = imports, time.monotonic()
        if time.monotonic() > deadline_s + 10 * _PATIENCE_S:
            raise TimeoutError("the nursery goes on learning")
        time.sleep(0.1)


def cold(trimtab: Trimtab, name: str, artifact: bytes, body: bytes, starts: int, image: str = PYTHON) -> dict[str, Any]:
    """Start after start, once trimtab has learned what the model imports; the first three are not counted."""
    make(trimtab, name, artifact, serverless=True, keep_warm="off", image=image)
    client = Client(trimtab, name, body)
    client.ask_ms()
    learned(trimtab)
    took_ms = []
    for _ in range(starts + 3):
        at_zero(trimtab, name)
        took_ms.append(client.ask_ms())
    p50, p99, most = np.percentile(took_ms[3:], (50, 99, 100))
    return {"starts": starts, "failed": client.failed, "p50_ms": p50, "p99_ms": p99, "max_ms": most}


def warm(trimtab: Trimtab, artifact: bytes, body: bytes, requests: int) -> dict[str, Any]:
    """Requests to both in turn."""
    make(trimtab, "warm", artifact, serverless=True, keep_warm="3600")
    make(trimtab, "real-time", artifact, serverless=False, keep_warm="off")
    clients = [Client(trimtab, "warm", body), Client(trimtab, "real-time", body)]
    took_ms: tuple[list[float], list[float]] = ([], [])
    for number in range(requests + 200):
        for client, took in zip(clients, took_ms, strict=True):
            each_ms = client.ask_ms()
            if number >= 200:
                took.append(each_ms)
    (serverless, real_time), (serverless_p99, real_time_p99) = (
        [float(np.percentile(took, part)) for took in took_ms] for part in (50, 99)
    )
    return {
        "requests": requests,
        "failed": sum(client.failed for client in clients),
        "serverless_p50_ms": serverless,
        "real_time_p50_ms": real_time,
        "serverless_p99_ms": serverless_p99,
        "real_time_p99_ms": real_time_p99,
        "added_p50_us": (serverless - real_time) * 1000,
    }


def measure(starts: int, requests: int) -> dict[str, dict[str, Any]]:
    """All figures, by name."""
    with serving("--auth", "none") as trimtab:
        onnx, body = fraud()
        sklearn, sklearn_body = pickled()
        return {
            "ONNX": cold(trimtab, "onnx", onnx, body, starts),
            "scikit-learn": cold(trimtab, "sklearn", sklearn, sklearn_body, starts, SKLEARN),
            "warm": warm(trimtab, onnx, body, requests),
        }


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--max-p50-ms", type=float, default=40.0)
    parser.add_argument("--max-p99-ms", type=float, default=150.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.starts, options.requests)
    starts = {name: figures for name, figures in found.items() if "starts" in figures}
    if options.json:
        print(json.dumps(found))
    else:
        for name, figures in starts.items():
            print(
                f"{name}: {figures['starts']} cold starts, p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms, "
                f"max {figures['max_ms']:.1f} ms, failed: {figures['failed']}"
            )
        of = found["warm"]
        print(
            f"warm: p50 {of['serverless_p50_ms']:.3f} ms, real-time {of['real_time_p50_ms']:.3f} ms: "
            f"{of['added_p50_us']:+.0f} us; p99 {of['serverless_p99_ms']:.2f} and {of['real_time_p99_ms']:.2f} ms; "
            f"failed: {of['failed']}"
        )
    good = all(of["p50_ms"] <= options.max_p50_ms and of["p99_ms"] <= options.max_p99_ms for of in starts.values())
    return 0 if good and not any(of["failed"] for of in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
