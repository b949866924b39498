"""trimtab in a minute: train a fraud model, deploy it with plain boto3, score real card payments, show the figures.

    make demo        (or: python examples/fraud/demo.py)

Everything runs on this machine, in a temporary folder that is removed at the end, also after Ctrl-C. The boto3 calls
are the ones that a program for AWS makes; only the environment variable AWS_ENDPOINT_URL differs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import boto3
import numpy as np
from botocore.config import Config
from rich.console import Console
from rich.table import Table
from train import Payments, load, pack, train

sys.path.insert(0, str(Path(__file__).parents[1]))
from serving import TRIMTAB, serving

ROLE = "arn:aws:iam::000000000000:role/trimtab"
IMAGE = "trimtab://python"
NAME = "fraud"
THRESHOLD = 0.5
THREADS = 8

console = Console(soft_wrap=True)


def main() -> int:
    """Run the demo; 130 after Ctrl-C, as shells expect."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-demo-")))
            run(stack, folder)
    except KeyboardInterrupt:
        console.print("\nstopped; everything that the demo made is removed")
        return 130
    return 0


def run(stack: ExitStack, folder: Path) -> None:
    """The steps, in order."""
    with console.status("training on real card payments"):
        learn, test = load()
        artifact = pack(train(learn), folder)
    console.print(
        f"trained on {len(learn.fraud):,} payments; {artifact.name} has {artifact.stat().st_size / 1024:.0f} KiB"
    )

    began_s = time.perf_counter()
    stack.enter_context(serving(folder / "data"))
    console.print(f"trimtab is ready at {os.environ['AWS_ENDPOINT_URL']} ({time.perf_counter() - began_s:.2f} s)")

    deploy(artifact)
    with console.status(f"scoring {len(test.fraud):,} payments that the model has not seen"):
        scores, latencies_ms, rate_per_s = score(test)
    show_quality(scores, test)
    show_speed(latencies_ms, rate_per_s)
    console.print("\n[bold]What runs, and where the time of its start went[/] (trimtab describe fraud)")
    subprocess.run([TRIMTAB, "describe", NAME], check=True)
    show_next_steps()


def deploy(artifact: Path) -> None:
    """From `model.tar.gz` to an endpoint in service: plain boto3, as for AWS."""
    s3 = boto3.client("s3")
    sagemaker = boto3.client("sagemaker")
    s3.create_bucket(Bucket="models")
    s3.upload_file(str(artifact), "models", "fraud/model.tar.gz")
    sagemaker.create_model(
        ModelName=NAME,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://models/fraud/model.tar.gz"},
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName=NAME,
        ProductionVariants=[
            {"VariantName": "blue", "ModelName": NAME, "InstanceType": "ml.m5.large", "InitialInstanceCount": 2}
        ],
    )
    began_s = time.perf_counter()
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    while (status := sagemaker.describe_endpoint(EndpointName=NAME)["EndpointStatus"]) == "Creating":
        time.sleep(0.01)
    took_s = time.perf_counter() - began_s
    if status != "InService":
        raise SystemExit(f"the endpoint is {status}: {sagemaker.describe_endpoint(EndpointName=NAME)['FailureReason']}")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME)
    console.print(f"endpoint [bold]{NAME}[/] is InService {took_s * 1000:.0f} ms after create_endpoint")


def score(test: Payments) -> tuple[np.ndarray, Sequence[float], float]:
    """Every test payment as a request of its own, one after another; then once more from several threads, for the rate."""
    bodies = [json.dumps([[round(float(x), 6) for x in row]]).encode() for row in test.features]
    local = threading.local()

    def invoke(body: bytes) -> tuple[float, float]:
        if not hasattr(local, "client"):
            local.client = boto3.client("sagemaker-runtime", config=Config(retries={"total_max_attempts": 1}))
        began_s = time.perf_counter()
        answer = local.client.invoke_endpoint(EndpointName=NAME, ContentType="application/json", Body=body)
        prediction = json.loads(answer["Body"].read())
        return float(prediction[0][1]), (time.perf_counter() - began_s) * 1000

    results = [invoke(body) for body in bodies]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(invoke, bodies[: THREADS * 4]))  # make each thread's client before the clock runs
        began_s = time.perf_counter()
        list(pool.map(invoke, bodies))
        rate_per_s = len(bodies) / (time.perf_counter() - began_s)
    return np.array([fraud for fraud, _ in results]), [ms for _, ms in results], rate_per_s


def show_quality(scores: np.ndarray, test: Payments) -> None:
    """Precision and recall on the payments that were held back."""
    flagged = scores >= THRESHOLD
    caught = int((flagged & (test.fraud == 1)).sum())
    table = Table(title=f"Quality at a threshold of {THRESHOLD}", title_justify="left")
    for column in ("payments", "frauds", "flagged", "caught", "precision", "recall"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{len(test.fraud):,}",
        str(int(test.fraud.sum())),
        str(int(flagged.sum())),
        str(caught),
        f"{caught / max(1, int(flagged.sum())):.3f}",
        f"{caught / int(test.fraud.sum()):.3f}",
    )
    console.print(table)
    console.print(
        "Frauds are 8 % of this sample and 0.17 % of real traffic: expect a lower precision there.", style="dim"
    )


def show_speed(latencies_ms: Sequence[float], rate_per_s: float) -> None:
    """Latency as boto3 sees it: signing, HTTP, gateway, worker, model, and parsing the answer."""
    p50, p95, p99 = np.percentile(latencies_ms, [50, 95, 99])
    table = Table(title="Speed as boto3 sees it", title_justify="left")
    for column in ("p50 ms", "p95 ms", "p99 ms", f"requests/s ({THREADS} threads)"):
        table.add_column(column, justify="right")
    table.add_row(f"{p50:.2f}", f"{p95:.2f}", f"{p99:.2f}", f"{rate_per_s:,.0f}")
    console.print(table)
    console.print("Most of this time is boto3's own; docs/benchmarks.md has trimtab's share.", style="dim")


def show_next_steps() -> None:
    """How to go on."""
    console.print(
        "\n[bold]Your turn[/]\n"
        "  .venv/bin/trimtab serve                      start trimtab and leave it running\n"
        '  eval "$(.venv/bin/trimtab env)"              in another shell: any AWS program now talks to it\n'
        "  .venv/bin/trimtab deploy FOLDER --name NAME  from a folder with a model to an endpoint\n"
        "  docs/tutorial.md                             the whole way, step by step",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
