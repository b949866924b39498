"""Multi-model endpoints and control: what users set takes effect at once and lasts, and control may die at any moment."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from many_models import named

from trimtab.aws.client import Client
from trimtab.cli.connect import connect
from trimtab.testing.server import Trimtab, serving
from trimtab.testing.waiting import wait_until

KILLS = 3


@pytest.fixture
def own() -> Iterator[Trimtab]:
    with serving() as trimtab:
        yield trimtab


def ask(trimtab: Trimtab, name: str, model: str) -> str:
    return trimtab.invoke(name, b"[]", TargetModel=model).decode()


def native(trimtab: Trimtab) -> Client:
    return connect(Path(trimtab.data_dir))


def listed(client: Client, name: str) -> dict[str, Any]:
    return client.get(f"endpoints/{name}/models")


def loaded(client: Client, name: str) -> set[str]:
    return {
        resident["model"]
        for host in listed(client, name)["hosts"]
        for resident in host["residents"]
        if resident["state"] == "Ready"
    }


def kill_control(trimtab: Trimtab) -> psutil.Process:
    (control,) = trimtab.processes("trimtab: control")
    control.send_signal(signal.SIGKILL)
    psutil.wait_procs([control], timeout=10)
    return control


def test_a_model_that_is_pinned_on_a_running_endpoint_is_loaded_unasked_and_listed(trimtab: Trimtab, name: str) -> None:
    for model in ("a.tar.gz", "team/b.tar.gz"):
        trimtab.put_model(name, model, named(model))
    trimtab.deploy_many(name)
    client = native(trimtab)
    assert listed(client, name)["settings"] == []
    assert loaded(client, name) == set()
    path = f"endpoints/{name}/models/settings"
    client.change("PUT", path, {"model": "team/b.tar.gz", "pinned": True})
    wait_until(lambda: loaded(client, name) == {"team/b.tar.gz"})
    assert ask(trimtab, name, "a.tar.gz") == "a.tar.gz"
    wait_until(lambda: {m["model"]: m["loads"] for m in listed(client, name)["models"]} ==
               {"a.tar.gz": 1, "team/b.tar.gz": 1})  # fmt: skip
    events = client.get(f"endpoints/{name}/models/events")["events"]
    whys = {event["model"]: event["why"] for event in events if event["what"] == "loaded"}
    assert whys == {"a.tar.gz": "asked", "team/b.tar.gz": "pinned"}
    client.change("PATCH", path, {"model": "a.tar.gz", "ttl_s": 0.2})
    wait_until(lambda: loaded(client, name) == {"team/b.tar.gz"})
    asked = {"model": "a.tar.gz", "last": "1"}

    def last() -> tuple[str, str]:
        (event,) = client.get(f"endpoints/{name}/models/events", **asked)["events"]
        return event["what"], event["why"]

    wait_until(lambda: last() == ("unloaded", "expired"))
    client.change("DELETE", path, {}, model="team/b.tar.gz")
    assert [setting["model"] for setting in listed(client, name)["settings"]] == ["a.tar.gz"]


def test_an_upload_that_was_acknowledged_as_control_died_is_served(own: Trimtab, name: str) -> None:
    """The object was written and control killed before it could tell anybody: hosts are told when they are back."""
    own.put_model(name, "m.tar.gz", named("0"))
    own.deploy_many(name)
    assert ask(own, name, "m.tar.gz") == "0"
    patient = own.client("s3", retries={"mode": "standard", "total_max_attempts": 10})  # the last kill may be just over
    for version in range(1, KILLS + 1):
        patient.put_object(Bucket=own.bucket, Key=f"{name}/m.tar.gz", Body=named(str(version)))
        kill_control(own)
        wait_until(lambda version=version: ask(own, name, "m.tar.gz") == str(version))


@pytest.mark.slow
def test_killing_control_fails_no_request_loses_no_event_and_takes_back_no_setting(own: Trimtab, name: str) -> None:
    models = [f"m{number}.tar.gz" for number in range(12)]
    for model in models:
        own.put_model(name, model, named(model))
    own.deploy_many(name, TRIMTAB_MODEL_MEMORY_MIB="40")  # a few of them at a time
    client = native(own)
    client.change("PUT", f"endpoints/{name}/models/settings", {"model": models[0], "pinned": True})
    stop, failed, asked = False, [], [0, 0]

    def keep_asking(offset: int) -> None:
        while not stop:
            model = models[(asked[offset] * 5 + offset) % len(models)]
            try:
                assert ask(own, name, model) == model
            except (ClientError, BotoCoreError) as error:
                failed.append(repr(error))
            asked[offset] += 1

    def each_asked(more: int) -> None:
        goals = [count + more for count in asked]
        wait_until(
            lambda: (
                all(count >= goal for count, goal in zip(asked, goals, strict=True))
                or any(caller.done() for caller in callers)
            )
        )

    with ThreadPoolExecutor(2) as pool:
        callers = [pool.submit(keep_asking, offset) for offset in range(2)]
        try:
            for _ in range(KILLS):
                each_asked(2)  # work goes on
                kill_control(own)
                wait_until(lambda: len(own.processes("trimtab: control")) == 1)
            each_asked(len(models))
        finally:
            stop = True
        for caller in callers:
            caller.result()
    assert failed == []

    def settled() -> bool:
        """Whether history agrees with itself and with what is loaded: nothing is missing, nothing counted twice."""
        try:
            found = listed(client, name)
            events = client.get(f"endpoints/{name}/models/events", last="100000")["events"]
        except Exception:  # noqa: BLE001 - control is on its way up
            return False
        (host,) = found["hosts"] or [None]
        if host is None:
            return False
        seqs = sorted(event["seq"] for event in events)
        loads = sum(event["what"] == "loaded" for event in events)
        gone = sum(event["what"] in ("unloaded", "crashed") for event in events)
        ready = sum(resident["state"] == "Ready" for resident in host["residents"])
        return (
            seqs == list(range(1, len(seqs) + 1))
            and sum(count["loads"] for count in found["models"]) == loads
            and loads - gone == ready
        )

    wait_until(settled)
    assert listed(client, name)["settings"][0]["pinned"]
    assert models[0] in loaded(client, name)
    evicted = {count["model"] for count in listed(client, name)["models"] if count["evictions"]}
    assert evicted, "more models than fit were asked for"
    assert models[0] not in evicted
