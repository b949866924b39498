"""Waking from zero: how long the first request waits for a model of which nothing runs.

    python -m benchmarks.wake [--wakes 1000] [--model fraud|large] [--max-p99-ms 150] [--json]

A real `trimtab serve`, boto3, a scalable target with min 0 and trimtab's event signal with a stable window of a second,
which takes the last replica away again and again. Once there is none one request is sent, held by the gateway, and
answered by the replica that it wakes. `large` is an ONNX network of 100 MB. Exits 1 when a request failed or the 99th percentile is over the
limit.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.birth import LARGE_WIDTH, save_large_onnx
from benchmarks.scale_out import model
from benchmarks.scaling import scale, tracking
from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab, serving

NAME = "woken"
_LOOK_S = 0.05
_PATIENCE_S = 30.0
_SILENCE_S = 0.2


def large() -> tuple[bytes, bytes]:
    """The archive of a 100 MB model, and one request."""
    with tempfile.TemporaryDirectory() as folder:
        saved = save_large_onnx(Path(folder) / "model")
        return archive(model_onnx=(saved / "model.onnx").read_bytes()), json.dumps([[0.5] * LARGE_WIDTH]).encode()


def to_zero(trimtab: Trimtab) -> None:
    """Until nothing of it runs, and has not for a while."""
    deadline_s = time.monotonic() + _PATIENCE_S
    since_s = time.monotonic()
    while time.monotonic() < since_s + _SILENCE_S:
        found = trimtab.sagemaker.describe_endpoint(EndpointName=NAME)
        variant = found["ProductionVariants"][0]
        counts = variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]
        if counts != (0, 0) or found["EndpointStatus"] != "InService":
            since_s = time.monotonic()
        if since_s > deadline_s:
            raise TimeoutError(f"not at zero: {found}")
        time.sleep(_LOOK_S)


def wake(trimtab: Trimtab, body: bytes) -> float | None:
    """Milliseconds that the request took; None when it failed."""
    from botocore.exceptions import BotoCoreError, ClientError

    began_s = time.perf_counter()
    try:
        trimtab.invoke(NAME, body)
    except (ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return None
    return (time.perf_counter() - began_s) * 1000


def measure(wakes: int, artifact: bytes, body: bytes) -> list[float | None]:
    """All wakes, after three that are not counted (page cache, the client's connection)."""
    with serving() as trimtab:
        trimtab.deploy(NAME, artifact)
        trimtab.invoke(NAME, body)
        scale(
            trimtab.client("application-autoscaling"),
            NAME,
            0,
            1,
            tracking(NAME, 1.0, windows={"StableWindowSeconds": "1"}),
        )
        took_ms = []
        for _ in range(wakes + 3):
            to_zero(trimtab)
            took_ms.append(wake(trimtab, body))
        return took_ms[3:]


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wakes", type=int, default=1000)
    parser.add_argument("--model", choices=("fraud", "large"), default="fraud")
    parser.add_argument("--max-p99-ms", type=float, default=150.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    took_ms = measure(options.wakes, *(model() if options.model == "fraud" else large()))
    good_ms = [ms for ms in took_ms if ms is not None]
    failed = len(took_ms) - len(good_ms)
    p50, p99, most = np.percentile(good_ms, (50, 99, 100)) if good_ms else (np.inf,) * 3
    figures = {
        "wakes": len(took_ms),
        "failed": failed,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "max_ms": float(most),
    }
    if options.json:
        print(json.dumps({"model": options.model, **figures}))
    else:
        print(
            f"{len(took_ms)} wakes of {options.model}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms, failed: {failed}"
        )
    return 0 if p99 <= options.max_p99_ms and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
