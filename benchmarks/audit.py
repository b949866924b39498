"""`trimtab audit` of an account with 1,000 endpoints: wall time, processor time, calls.

    python -m benchmarks audit [--endpoints 1000] [--rate 60]

moto's server (in a process of its own) has the endpoints, configs, models and policies, and throttles calls beyond
--rate a second. CloudWatch is a server of its own here: moto would need hours to be given, and to answer, two weeks of
metrics of so many endpoints. It answers GetMetricData with as many points as AWS would: every period of 14 days. The
audit is the verb itself, as a user runs it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.scaling import scale

KEYS = {"AWS_ACCESS_KEY_ID": "AKIA0", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
FAULTY_EVERY = 10  # one endpoint in so many has no policy


@cache
def _times(start_s: int, end_s: int, period_s: int) -> str:
    return json.dumps(list(range(start_s, end_s, period_s)))


@cache
def _values(metric: str, stat: str, count: int) -> str:
    """A day's wave of requests; everything else is level."""
    import math

    level = {"Invocations": 300.0, "ModelLatency": 50_000.0, "CPUUtilization": 60.0}.get(metric, 20.0)
    if stat == "SampleCount":
        level = 120.0
    is_wave = metric == "Invocations"
    wave = [level * (1 + 0.8 * math.sin(i / 288 * 2 * math.pi)) if is_wave else level for i in range(count)]
    return json.dumps([round(value, 1) for value in wave])


class CloudWatch(BaseHTTPRequestHandler):
    """GetMetricData in AWS's JSON protocol: all points of every period asked for, on one page."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.headers.get("X-Amz-Target", "").endswith(".GetMetricData"):
            self._send(b'{"MetricAlarms": []}')
            return
        start_s, end_s = int(asked["StartTime"]), int(asked["EndTime"])
        results = []
        for query in asked["MetricDataQueries"]:
            stat = query["MetricStat"]
            period_s = stat["Period"]
            times = _times(start_s, end_s, period_s)
            values = _values(stat["Metric"]["MetricName"], stat["Stat"], (end_s - start_s) // period_s)
            results.append(f'{{"Id":"{query["Id"]}","StatusCode":"Complete","Timestamps":{times},"Values":{values}}}')
        self._send(f'{{"MetricDataResults":[{",".join(results)}]}}'.encode())

    def _send(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _serve_metrics(pipe: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), CloudWatch)
    pipe.send(f"http://127.0.0.1:{server.server_address[1]}")
    server.serve_forever()


def _serve_account(pipe: Any, endpoints: int, rate_per_s: float) -> None:
    """The account; says its URL once it is there, and its calls when asked."""
    import boto3

    from trimtab.testing.account import by_concurrency
    from trimtab.testing.aws_server import aws_server

    with aws_server() as server:

        @cache
        def client(service: str) -> Any:
            return boto3.client(service, endpoint_url=server.url)

        client("s3").create_bucket(Bucket="models")
        client("s3").put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Enabled"})
        for number in range(endpoints):
            _make(client, f"endpoint-{number:04d}", by_concurrency() if number % FAULTY_EVERY else None)
        server.calls.clear()
        server.rate_per_s = rate_per_s
        pipe.send(server.url)
        pipe.recv()
        pipe.send((dict(server.calls), server.throttled))


def _make(client: Any, name: str, policy: dict[str, Any] | None) -> None:
    role = "arn:aws:iam::123456789012:role/models"
    container = {"Image": f"company/{name}:1", "ModelDataUrl": f"s3://models/{name}/1/model.tar.gz"}
    client("sagemaker").create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=container)
    variant = {
        "VariantName": "main", "ModelName": name, "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 2,
        "InitialVariantWeight": 1.0,
    }  # fmt: skip
    client("sagemaker").create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)
    if policy is None:
        return
    scale(client("application-autoscaling"), name, 2, 6, policy, variant="main", name=f"{name}-load")


def main() -> None:
    """Run it and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=60, help="calls a second; more are throttled (0: never)")
    given = parser.parse_args()
    os.environ.update(KEYS)
    context = multiprocessing.get_context("spawn")
    account, far_account = context.Pipe()
    metrics, far_metrics = context.Pipe()
    servers = [
        context.Process(target=_serve_account, args=(far_account, given.endpoints, given.rate), daemon=True),
        context.Process(target=_serve_metrics, args=(far_metrics,), daemon=True),
    ]
    for server in servers:
        server.start()
    urls = {"AWS_ENDPOINT_URL": account.recv(), "AWS_ENDPOINT_URL_CLOUDWATCH": metrics.recv()}
    argv = [str(Path(sys.executable).with_name("trimtab")), "audit", "--json"]
    began_s = time.monotonic()
    done = subprocess.run(argv, env=os.environ | urls, capture_output=True, text=True, check=True)
    wall_s = time.monotonic() - began_s
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    account.send("calls")
    calls, throttled = account.recv()
    for server in servers:
        server.terminate()
    found = json.loads(done.stdout)
    unseen = [each["what"] for each in found["unseen"] if "Sizes of requests" not in each["what"]]
    print(
        json.dumps(
            {
                "benchmark": "audit",
                "endpoints": found["endpoints"],
                "wall_s": round(wall_s, 1),
                "cpu_s": round(used.ru_utime + used.ru_stime, 1),
                "peak_mb": round(used.ru_maxrss / 1024),
                "calls": sum(calls.values()),
                "throttled": throttled,
                "faults_found": sum(each["kind"] == "no-scaling-policy" for each in found["findings"]),
                "faults_there": len(range(0, given.endpoints, FAULTY_EVERY)),
                "other_findings": sum(each["kind"] != "no-scaling-policy" for each in found["findings"]),
                "unseen": unseen,
                "cores": os.cpu_count(),
            }
        )
    )


if __name__ == "__main__":
    main()
