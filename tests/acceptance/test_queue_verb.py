"""`trimtab queue`: what people see of an asynchronous endpoint's queue, and do about it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from async_server import AsyncEndpoint

from trimtab.testing.artifacts import script
from trimtab.testing.server import PROGRAM, Trimtab
from trimtab.testing.waiting import wait_until

FIXABLE = """
import os

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    broken = bytes(body).decode()
    if os.path.exists(broken):
        raise ValueError("no such document")
    return b"done", content_type
"""


@pytest.fixture
def endpoint(trimtab: Trimtab, name: str) -> Iterator[AsyncEndpoint]:
    endpoint = AsyncEndpoint(trimtab, name, MaxConcurrentInvocationsPerInstance=1)
    yield endpoint
    trimtab.settled(name)
    trimtab.sagemaker.delete_endpoint(EndpointName=name)


def look(endpoint: AsyncEndpoint, *options: str) -> dict[str, Any]:
    return dict(json.loads(endpoint.trimtab.cli("queue", endpoint.name, "--json", *options)))


def refused(trimtab: Trimtab, *arguments: str) -> str:
    argv = [str(PROGRAM), *arguments, "--data-dir", str(trimtab.data_dir)]
    done = subprocess.run(argv, env=trimtab.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 1
    return done.stderr


def test_dead_letters_are_shown_with_their_reasons_and_worked_on_anew(
    trimtab: Trimtab, endpoint: AsyncEndpoint, tmp_path: Path
) -> None:
    other = f"{endpoint.name}-fixable"
    trimtab.create_model(other, script(FIXABLE))
    endpoint.config(other, model=other)
    trimtab.sagemaker.update_endpoint(EndpointName=endpoint.name, EndpointConfigName=other)
    trimtab.settled(endpoint.name)
    broken = tmp_path / "broken"
    broken.touch()
    answer = endpoint.ask(Body=str(broken).encode(), InferenceId="page-7")
    assert "no such document" in endpoint.failure(answer)
    about = wait_until(lambda: found if (found := look(endpoint))["dead"] else None)
    assert (about["waiting"], about["in_flight"], about["dead"], about["accepted"]) == (0, 0, 1, 1)
    (task,) = about["tasks"]
    assert (task["state"], task["inference_id"]) == ("dead", "page-7")
    assert task["reason"].startswith("ModelFailed: ")
    text = trimtab.cli("queue", endpoint.name)
    assert f"{endpoint.name}: 0 waiting, 0 in flight, 1 dead" in text
    assert "page-7" in text
    assert "ModelFailed: " in text
    broken.unlink()
    assert json.loads(trimtab.cli("queue", "redrive", endpoint.name, "--json")) == {"redriven": 1}
    assert endpoint.result(answer)["Bytes"] == b"done"
    assert wait_until(lambda: look(endpoint)["dead"] == 0)


def test_what_waits_is_shown_and_purged_once_that_is_confirmed(
    trimtab: Trimtab, endpoint: AsyncEndpoint, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    first = endpoint.ask(Body=f"until:{gate}".encode())
    wait_until(lambda: look(endpoint)["in_flight"] == 1)
    behind = [endpoint.ask(InputLocation=endpoint.put(b"x")) for _ in range(3)]
    about = look(endpoint, "--state", "waiting")
    assert (about["waiting"], about["in_flight"]) == (3, 1)
    assert about["oldest_s"] > 0
    assert len(about["tasks"]) == 3
    assert all(task["input_location"].startswith("s3://") for task in about["tasks"])
    assert "--yes" in refused(trimtab, "queue", "purge", endpoint.name)
    assert look(endpoint)["waiting"] == 3
    top = trimtab.cli("top")
    assert "BACKLOG" in top
    assert f"{endpoint.name}: 3 waiting, 1 in flight" in trimtab.cli("explain", endpoint.name)
    assert "3 requests" in trimtab.cli("queue", "purge", endpoint.name, "--yes")
    gate.touch()
    endpoint.result(first)  # what was in flight went on
    assert wait_until(lambda: look(endpoint)["in_flight"] == 0)
    assert all(endpoint.found(answer["OutputLocation"]) is None for answer in behind)


def test_a_person_types_the_endpoints_name_before_anything_is_purged(
    trimtab: Trimtab, endpoint: AsyncEndpoint, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    for _ in range(3):
        endpoint.ask(Body=f"until:{gate}".encode())
    wait_until(lambda: look(endpoint)["in_flight"] == 1)

    def typed(text: str) -> subprocess.CompletedProcess[str]:
        ours, theirs = pty.openpty()
        argv = [str(PROGRAM), "queue", "purge", endpoint.name, "--data-dir", str(trimtab.data_dir)]
        os.write(ours, text.encode() + b"\n")
        try:
            return subprocess.run(argv, env=trimtab.env, stdin=theirs, capture_output=True, text=True, timeout=60)
        finally:
            os.close(ours)
            os.close(theirs)

    assert "Nothing was removed" in typed("yes").stderr
    assert look(endpoint)["waiting"] == 2
    assert "2 requests" in typed(endpoint.name).stdout
    assert look(endpoint)["waiting"] == 0
    gate.touch()


def test_endpoints_without_a_queue_are_told_of(trimtab: Trimtab, name: str) -> None:
    assert "trimtab endpoints" in refused(trimtab, "queue", "no-such-endpoint")
    trimtab.deploy(name, script(FIXABLE))
    assert "is not asynchronous" in refused(trimtab, "queue", name)
    assert "is not asynchronous" in refused(trimtab, "queue", "purge", name, "--yes")
    trimtab.sagemaker.delete_endpoint(EndpointName=name)
