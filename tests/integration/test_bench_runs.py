"""`trimtab bench` against a running trimtab: small loads, real answers."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from trimtab.testing.artifacts import script
from trimtab.testing.server import PROGRAM, Trimtab, serving
from trimtab.testing.waiting import wait_until

ECHO = """
import time
def model_fn(d): return 1
def input_fn(body, content_type): return bytes(body)
def predict_fn(data, model):
    if data == b"fail": raise ValueError("poisoned")
    return data
def output_fn(data, accept): return data
"""
BYTES = ("--content-type", "application/octet-stream")


@pytest.fixture(scope="module")
def trimtab() -> Iterator[Trimtab]:
    with serving() as server:
        server.deploy("echo", script(ECHO))
        yield server


def bench(trimtab: Trimtab, *arguments: str, check: bool = True) -> dict:
    return json.loads(trimtab.cli("bench", *arguments, "--json", "--warm-up", "200ms", check=check))


def test_signed_requests_are_answered_and_counted(trimtab) -> None:
    found = bench(trimtab, "echo", "--rate", "200", "--duration", "1s", "--body", "hello", *BYTES, "--p99", "10s")
    requests = found["requests"]
    assert requests["answered"] == requests["due"] > 100
    assert (requests["failed"], found["slo"]["kept"]) == (0, True)
    assert 0 < found["latency_s"]["p50"] <= found["latency_s"]["p99"] <= found["latency_s"]["max"]
    assert found["subject"]["variants"] == [{"name": "blue", "instance_type": "ml.m5.large", "replicas": 1}]
    assert found["cost"]["usd_per_hour"] == 0.115


def test_serverless_requests_cost_what_they_billed(trimtab) -> None:
    trimtab.create_model("demand", script(ECHO))
    config = {"MemorySizeInMB": 2048, "MaxConcurrency": 4}
    variant = {"VariantName": "blue", "ModelName": "demand", "ServerlessConfig": config}
    trimtab.sagemaker.create_endpoint_config(EndpointConfigName="demand", ProductionVariants=[variant])
    trimtab.sagemaker.create_endpoint(EndpointName="demand", EndpointConfigName="demand")
    trimtab.settled("demand")
    cost = bench(trimtab, "demand", "--rate", "20", "--duration", "3s", "--body", "hello", *BYTES)["cost"]
    assert cost["usd_per_hour"] == 0
    assert 1000 * 2 * 0.001 * 0.00002 <= cost["usd_per_1000_requests"] < 1000 * 2 * 1.0 * 0.00002
    assert cost["prices"][0]["unit"] == "second"


def test_mixed_payloads_fail_where_they_must(trimtab, tmp_path) -> None:
    lines = [{"body": "good", "weight": 3}, {"body": "fail", "weight": 1}]
    payload = tmp_path / "p.jsonl"
    payload.write_text("".join(json.dumps(line | {"content_type": "application/x"}) + "\n" for line in lines))
    found = bench(trimtab, "echo", "--rate", "100", "--duration", "1s", "--payload", str(payload))
    [error] = found["errors"]
    assert (error["kind"], error["status"]) == ("ModelError", 424)
    assert "poisoned" in error["example"]
    assert 0.05 < found["error_rate"] < 0.6
    assert found["requests"]["answered"] + found["requests"]["failed"] == found["requests"]["due"]


def test_streams_have_a_first_chunk(trimtab) -> None:
    found = bench(trimtab, "echo", "--rate", "50", "--duration", "500ms", "--body", "hello", *BYTES, "--stream")
    assert found["requests"]["failed"] == 0
    assert found["stream"]["chunks"] >= found["requests"]["answered"] > 0
    assert found["stream"]["first_chunk_s"]["p50"] <= found["latency_s"]["p99"]


def test_the_highest_rate_is_found_within_its_bounds(trimtab) -> None:
    found = bench(
        trimtab, "echo", "--find-max", "--p50", "5s", "--rate", "100", "--duration", "200ms", "--max-requests", "700",
        "--body", "x", *BYTES,
    )  # fmt: skip
    assert found["search"]["rate"] >= 100
    assert found["search"]["confirmed"] is False
    assert "--max-requests 700" in found["search"]["why"]


def started(trimtab: Trimtab, name: str) -> subprocess.Popen[str]:
    argv = [str(PROGRAM), "bench", name, "--rate", "50", "--duration", "60s", "--warm-up", "0", "--body", "x", *BYTES,
            "--json", "--data-dir", str(trimtab.data_dir)]  # fmt: skip
    return subprocess.Popen(argv, env=trimtab.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until_loaded(trimtab: Trimtab, name: str, least: int = 20) -> None:
    """Until the endpoint's replica has seen requests of the test."""
    wait_until(lambda: trimtab.cli("logs", name).count("asked") >= least, "requests in the log")


SPEAKING = "def model_fn(d): return 1\ndef predict_fn(x, m):\n    print('asked', flush=True)\n    return x\ndef input_fn(b, t): return bytes(b)\ndef output_fn(x, a): return x\n"


def test_ctrl_c_tells_what_was_measured_so_far(trimtab) -> None:
    trimtab.deploy("speaking", script(SPEAKING))
    process = started(trimtab, "speaking")
    wait_until_loaded(trimtab, "speaking")
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    found = json.loads(out)
    assert found["stopped"] == "interrupted"
    assert found["requests"]["answered"] >= 19
    assert found["duration_s"] < 60


def test_an_endpoint_that_is_deleted_ends_the_test(trimtab) -> None:
    trimtab.deploy("doomed", script(SPEAKING))
    process = started(trimtab, "doomed")
    wait_until_loaded(trimtab, "doomed")
    trimtab.sagemaker.delete_endpoint(EndpointName="doomed")
    out, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: The test was stopped: Endpoint doomed of account" in said
    assert json.loads(out)["requests"]["answered"] >= 19
