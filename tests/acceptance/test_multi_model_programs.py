"""Multi-model endpoints of foreign programs that keep AWS's multi-model container contract, by boto3."""

from __future__ import annotations

import json
import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from trimtab import testing
from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

PROGRAM = Path(testing.__file__).with_name("multi_model_program.py")
COMMAND = f"{shlex.quote(sys.executable)} {shlex.quote(str(PROGRAM))} {{port}}"


def model(answer: str, **does: Any) -> bytes:
    """See the program."""
    return archive(model_json=json.dumps({"answer": answer, **does}))


def deploy(trimtab: Trimtab, name: str, count: int = 1, **environment: str) -> None:
    trimtab.deploy_many(name, count, image="trimtab://command", TRIMTAB_COMMAND=COMMAND, **environment)


def ask(trimtab: Trimtab, name: str, target: str) -> list[str]:
    """ANSWER PID NAME TARGET."""
    return trimtab.invoke(name, b"x", TargetModel=target).decode().split()


def test_a_program_serves_what_is_uploaded_and_new_versions_of_it(trimtab: Trimtab, name: str) -> None:
    deploy(trimtab, name)
    for target in ("team/a.tar.gz", "b.tar.gz"):
        trimtab.put_model(name, target, model(f"first-{target}"))
    answers = [ask(trimtab, name, target) for target in ("team/a.tar.gz", "b.tar.gz", "team/a.tar.gz")]
    assert [answer[0] for answer in answers] == ["first-team/a.tar.gz", "first-b.tar.gz", "first-team/a.tar.gz"]
    assert len({answer[1] for answer in answers}) == 1, "one program has them all"
    assert answers[0][3] == "team/a.tar.gz"
    trimtab.put_model(name, "b.tar.gz", model("second"))
    wait_until(lambda: ask(trimtab, name, "b.tar.gz")[0] == "second")
    listed = json.loads(trimtab.cli("models", name, "--json"))
    assert "team/a.tar.gz" in json.dumps(listed)


def test_a_model_that_does_not_load_and_one_that_is_not_there(trimtab: Trimtab, name: str) -> None:
    deploy(trimtab, name)
    trimtab.put_model(name, "bad.tar.gz", model("x", load="fail"))
    trimtab.put_model(name, "good.tar.gz", model("good"))
    assert ask(trimtab, name, "good.tar.gz")[0] == "good"
    for target, code, says in (
        ("bad.tar.gz", "ModelError", "this model is broken"),
        ("no.tar.gz", "ValidationError", "Failed to download model data"),
    ):
        with pytest.raises(ClientError, match=says) as caught:
            ask(trimtab, name, target)
        assert caught.value.response["Error"]["Code"] == code
    assert ask(trimtab, name, "good.tar.gz")[0] == "good"


def test_errors_of_the_models_own_are_model_errors_with_their_status(trimtab: Trimtab, name: str) -> None:
    deploy(trimtab, name)
    for work, status in (("fail", 500), ("absent", 404), ("short", 507)):
        trimtab.put_model(name, f"{work}.tar.gz", model("x", work=work))
        with pytest.raises(ClientError) as caught:
            ask(trimtab, name, f"{work}.tar.gz")
        error: Any = caught.value.response
        assert (error["Error"]["Code"], error["OriginalStatusCode"]) == ("ModelError", status), error


def test_more_models_than_the_program_has_memory_for_take_turns(trimtab: Trimtab, name: str) -> None:
    deploy(trimtab, name, CAPACITY_MIB="25")
    targets = [f"{letter}.tar.gz" for letter in "abcdef"]
    for target in targets:
        trimtab.put_model(name, target, model(target, mib=10))

    def some(seed: int) -> None:
        for step in range(6):
            target = targets[(seed * 5 + step) % len(targets)]
            assert ask(trimtab, name, target)[0] == target

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(some, range(3)))
    explained = trimtab.cli("explain", name)
    assert "memory is full" in explained


def test_a_program_that_is_killed_is_started_again_and_no_later_request_fails(trimtab: Trimtab, name: str) -> None:
    deploy(trimtab, name)
    trimtab.put_model(name, "a.tar.gz", model("a"))
    pid = int(ask(trimtab, name, "a.tar.gz")[1])
    psutil.Process(pid).kill()
    wait_until(lambda: not psutil.pid_exists(pid))
    answer = ask(trimtab, name, "a.tar.gz")
    assert answer[0] == "a"
    assert int(answer[1]) != pid


def test_with_the_endpoint_goes_the_program(trimtab: Trimtab, name: str) -> None:
    deploy(trimtab, name)
    trimtab.put_model(name, "a.tar.gz", model("a"))
    pid = int(ask(trimtab, name, "a.tar.gz")[1])
    trimtab.sagemaker.delete_endpoint(EndpointName=name)
    wait_until(lambda: not psutil.pid_exists(pid))


def test_a_program_of_one_model_cannot_be_deployed_as_one_of_many(trimtab: Trimtab, name: str) -> None:
    trimtab.create_many(name, image="trimtab://command", TRIMTAB_COMMAND=COMMAND, BREAKS="models")
    trimtab.create_config(name, name)
    trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    reason = trimtab.settled(name, "Failed")["FailureReason"]
    assert "multi-model container contract" in reason


def test_without_a_cache_a_model_is_unloaded_after_its_request(trimtab: Trimtab, name: str) -> None:
    trimtab.deploy_many(name, image="trimtab://command", cache=False, TRIMTAB_COMMAND=COMMAND)
    trimtab.put_model(name, "a.tar.gz", model("a"))
    folder = trimtab.data_dir / "logs" / name / "blue"

    def unloads() -> int:
        return "".join(path.read_text() for path in folder.glob("*-program.log")).count("DELETE")

    assert ask(trimtab, name, "a.tar.gz")[0] == "a"
    wait_until(lambda: unloads() == 1)
    assert ask(trimtab, name, "a.tar.gz")[0] == "a"
    wait_until(lambda: unloads() == 2)
