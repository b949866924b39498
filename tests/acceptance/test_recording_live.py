"""`trimtab record` of a server that runs: single requests come back as they were."""

from __future__ import annotations

import csv
import gzip
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from async_server import AsyncEndpoint

from trimtab.cli.simulating.running import loaded
from trimtab.testing.artifacts import script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

ECHO = """
def model_fn(folder):
    return None

def transform_fn(model, body, content_type, accept):
    return body, content_type
"""


def recorded(trimtab: Trimtab, name: str, folder: Path, requests: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The scenario and its trace, as soon as metrics know of so many requests, and reports of each of them."""
    path = folder / f"{name}.yaml"

    def rows() -> list[dict[str, str]]:
        answer = trimtab.cli("record", name, "--last", "15m", "-o", str(path), "--force", "--json", check=False)
        if not answer or json.loads(answer)["requests"] != requests or "arrivals by the second" in path.read_text():
            return []
        with gzip.open(path.with_name(f"{name}.csv.gz"), "rt") as file:
            found = list(csv.DictReader(file))
        return found if len(found) == requests else []

    found = wait_until(rows)
    return yaml.safe_load(path.read_text()), found


def test_a_record_begins_when_the_endpoint_was_made(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    trimtab.deploy(name, script(ECHO))
    made_s = trimtab.sagemaker.describe_endpoint(EndpointName=name)["CreationTime"].timestamp()
    trimtab.invoke(name, b"[]")
    path = tmp_path / "young.yaml"
    answer = wait_until(lambda: trimtab.cli("record", name, "-o", str(path), "--json", check=False))
    assert any(f"{name} was made at " in note for note in json.loads(answer)["notes"])
    scenario = loaded(path).scenario
    assert int(made_s) <= scenario.workloads[0].arrivals.start_s <= made_s + 1
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def seconds(row: dict[str, str]) -> float:
    return datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC).timestamp()


def test_a_record_has_which_model_was_asked_when(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    trimtab.deploy_many(name)
    for model in "abc":
        trimtab.put_model(name, f"{model}.tar.gz", script(ECHO))
    sequence = "abaacabbacca"
    for model in sequence:
        trimtab.invoke(name, b"[]", TargetModel=f"{model}.tar.gz")
        time.sleep(0.001)  # moments are told to the millisecond: each request has another one
    scenario, rows = recorded(trimtab, name, tmp_path, len(sequence))
    assert "".join(row["model"][0] for row in rows) == sequence
    moments = [seconds(row) for row in rows]
    assert moments == sorted(moments)
    for model in "abc":
        workload = scenario["workloads"][f"{model}.tar.gz"]
        ((took, size),) = workload["loads"]
        assert took.endswith("ms")
        assert size == workload["memory"] > 1_000_000
        assert 0 < workload["artifact"] < 100_000
    endpoint = scenario["architectures"]["as it is"][name]
    assert endpoint["slots"] == 3
    workloads = loaded(tmp_path / f"{name}.yaml").scenario.workloads
    assert [len(one.arrivals.at_s) for one in workloads] == [sequence.count(model) for model in "abc"]


def test_a_record_has_what_each_asynchronous_request_took(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    endpoint = AsyncEndpoint(trimtab, name, MaxConcurrentInvocationsPerInstance=1)
    took_s = [0.05, 0.6, 0.1, 0.4]
    for one in took_s:
        endpoint.ask(InputLocation=endpoint.put(f"slow:{one}".encode()))
    scenario, rows = recorded(trimtab, name, tmp_path, len(took_s))
    found_s = [float(row["took_s"]) for row in rows]
    assert [one > least for one, least in zip(found_s, took_s, strict=True)] == [True] * 4
    assert found_s[1] > found_s[3] > found_s[2]
    assert scenario["workloads"][name]["work"]["trace"] is True
