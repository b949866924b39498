"""`trimtab endpoints`, `describe`, `logs`: looking at what runs. And what every verb says when something is wrong."""

from __future__ import annotations

import json
import socket
import time

import pytest

from trimtab.aws import keys
from trimtab.cli.main import VERBS
from trimtab.resources.endpoint import Event
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Container, Model
from trimtab.resources.replica import Failure, ReplicaState, ReplicaStatus, StartBudget


@pytest.fixture
def fraud(world):
    """An endpoint in service with a ready and a failed replica."""
    control = world.control
    control.create_model(Model(name="m", created_s=1.0, containers=(Container(image="i"),)), {})
    for name in ("fraud-1", "fraud-2"):
        variants = (VariantSpec(name="blue", model_name="m", initial_count=2),)
        control.create_endpoint_config(EndpointConfig(name=name, created_s=1.0, variants=variants), {})
    control.create_endpoint("fraud", "fraud-1", {}, {})
    control.settle("fraud")
    common = {"endpoint": "fraud", "variant": "blue", "version": "fraud-1", "started_s": time.time() - 300}
    control.replicas["fraud"] = (
        ReplicaStatus(
            id="r-ready",
            state=ReplicaState.READY,
            pids=(71, 72),
            in_flight=3,
            batch_size=16,
            batching="at most 16 rows, waiting at most 100 ms",
            budget=StartBudget(decide_s=0.0005, fork_s=0.0061, load_s=1.25),
            **common,
        ),
        ReplicaStatus(
            id="r-dead",
            state=ReplicaState.FAILED,
            failure=Failure(reason="ModelLoadFailed", message="model_fn raised", tail="Traceback\nValueError: no"),
            **common,
        ),
    )
    control.events["fraud"] = (Event(at_s=time.time(), what="replica failed", reason="it raised", replica_id="r-dead"),)
    return control


def test_endpoints_are_a_table(trimtab, fraud) -> None:
    result = trimtab("endpoints")
    header, row = result.stdout.splitlines()
    assert header.split() == ["NAME", "STATUS", "REPLICAS", "CONFIG", "VARIANTS", "CHANGED", "REASON"]
    assert row.split()[:5] == ["fraud", "InService", "1/2", "fraud-1", "blue"]
    assert "\x1b" not in result.stdout


def test_no_endpoints_leave_stdout_empty_and_say_how_to_make_one(trimtab) -> None:
    result = trimtab("endpoints")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "trimtab deploy" in result.stderr
    assert json.loads(trimtab("endpoints", "--json").stdout) == {"endpoints": []}


def test_describe_shows_replicas_budgets_failures_and_reasons(trimtab, fraud) -> None:
    out = trimtab("describe", "fraud").stdout
    assert "status:   InService" in out
    lines = {tuple(line.split()[:2]): line.split() for line in out.splitlines() if line}
    assert lines["r-ready", "blue"][2:] == ["Ready", "fraud-1", "71,72", "3", "-", "5m"]
    assert "r-ready  at most 16 rows, waiting at most 100 ms" in out
    assert lines["r-ready", "-"][1:] == ["-", "0.5", "-", "-", "6.1", "-", "1,250", "-", "-", "1,257"]
    assert "r-dead failed: ModelLoadFailed: model_fn raised\n    Traceback\n    ValueError: no" in out
    assert "it raised" in out


def test_describe_shows_what_is_coming(trimtab, fraud) -> None:
    fraud.update_endpoint("fraud", "fraud-2", retain_counts=False, retain_weights=False, document={})
    out = trimtab("describe", "fraud").stdout
    assert "config:   fraud-1 -> fraud-2" in out
    assert ["blue", "pending", "0", "->", "2", "0", "->", "1"] in [line.split() for line in out.splitlines()]


def test_describe_json_is_the_whole_document(trimtab, fraud) -> None:
    document = json.loads(trimtab("describe", "fraud", "--json").stdout)
    assert document["replicas"][0]["budget"]["load_s"] == 1.25
    assert document["events"][0]["reason"] == "it raised"


def write_log(world, replica: str, text: str) -> None:
    path = world.logs / "fraud" / "blue" / f"{replica}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_logs_name_the_replica_unless_it_was_chosen(trimtab, world, fraud) -> None:
    write_log(world, "r1", "one\ntwo\n")
    assert trimtab("logs", "fraud").stdout == "blue/r1  one\nblue/r1  two\n"
    assert trimtab("logs", "fraud", "--replica", "r1", "--tail", "1").stdout == "two\n"
    entry = json.loads(trimtab("logs", "fraud", "--tail", "1", "--json").stdout)
    assert entry == {"variant": "blue", "replica": "r1", "line": "two"}


def test_followed_logs_end_with_the_endpoint(trimtab, world, fraud) -> None:
    write_log(world, "r1", "\n".join(map(str, range(20))) + "\n")
    fraud.delete_endpoint("fraud")
    assert trimtab("logs", "fraud", "-f").stdout.splitlines() == [f"blue/r1  {n}" for n in range(10, 20)]


def test_no_log_lines_are_said_on_stderr(trimtab, fraud) -> None:
    result = trimtab("logs", "fraud")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No log lines of fraud yet.\n")


@pytest.mark.parametrize("verb", ["describe", "logs"])
def test_an_unknown_endpoint_is_an_error_with_a_hint(trimtab, world, verb) -> None:
    result = trimtab(verb, "nope")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: There is no endpoint named 'nope'.\nhint: `trimtab endpoints` lists what there is.\n"
    )


VERBS_THAT_CALL = (
    ("endpoints",),
    ("top",),
    ("top", "e", "--json"),
    ("describe", "e"),
    ("logs", "e"),
    ("invoke", "e", "--body", "1"),
)


@pytest.mark.parametrize("arguments", VERBS_THAT_CALL)
def test_no_trimtab_on_the_data_dir_is_an_error_with_a_hint(bare, tmp_path, arguments) -> None:
    result = bare(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: No trimtab runs on {tmp_path / 'nowhere'}.\nhint: Start it with")


@pytest.mark.parametrize("arguments", VERBS_THAT_CALL)
def test_a_port_where_nobody_answers_is_an_error_with_a_hint(trimtab, monkeypatch, arguments) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        result = trimtab(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"error: No trimtab answers at {url}: Connection refused" in result.stderr
    assert "hint: Start a trimtab with `trimtab serve`" in result.stderr


@pytest.mark.parametrize("arguments", VERBS_THAT_CALL)
def test_keys_of_another_trimtab_are_an_error(trimtab, monkeypatch, arguments) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    result = trimtab(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "signature" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_credentials_at_all_is_an_error_with_a_hint(trimtab, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    result = trimtab("endpoints")
    assert result.exit_code == 1
    assert "There are no credentials" in result.stderr


def test_a_data_dir_names_its_server_and_its_key(bare, server, world, fraud, tmp_path, monkeypatch) -> None:
    import os

    data_dir = tmp_path / "data"
    stored = keys.ensure(data_dir / "keys.json", now_s=1.0)[0]
    (data_dir / "server.json").write_text(json.dumps({"url": server.url, "region": "eu-west-1", "pid": os.getpid()}))
    monkeypatch.setattr("cli_server.KEY", stored.access_key())
    assert "fraud" in bare("endpoints", "--data-dir", str(data_dir)).stdout
    monkeypatch.setenv("TRIMTAB_DATA_DIR", str(data_dir))
    assert "fraud" in bare("endpoints").stdout
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)  # without credentials: the data directory's, as it is its server
    assert "fraud" in bare("endpoints").stdout


def test_what_is_no_trimtab_is_said_so(trimtab, world, monkeypatch) -> None:
    from trimtab.aws.http import HttpResponse

    async def other(self, request):
        return HttpResponse(status=404, body=b"<html>not here</html>")

    monkeypatch.setattr(type(world), "__call__", other)
    result = trimtab("endpoints")
    assert result.exit_code == 1
    assert "is it a trimtab?" in result.stderr


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"{}", b"[1]", b""])
def test_a_page_of_somebody_elses_that_answers_all_is_well_is_no_trimtab_either(
    trimtab, world, monkeypatch, body
) -> None:
    from trimtab.aws.http import HttpResponse

    async def other(self, request):
        return HttpResponse(status=200, body=body)

    monkeypatch.setattr(type(world), "__call__", other)
    result = trimtab("cost")
    assert result.exit_code == 1
    assert "nothing that a trimtab would: is it one?" in result.stderr
    assert "defect" not in result.stderr


def test_a_defect_is_told_without_its_traceback_unless_wanted(trimtab, monkeypatch) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("oh")

    monkeypatch.setattr("trimtab.cli.connect.connect", broken)
    result = trimtab("endpoints")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: RuntimeError: oh")
    assert "Traceback" not in result.stderr
    monkeypatch.setenv("TRIMTAB_DEBUG", "1")
    assert "Traceback" in trimtab("endpoints").stderr


def test_help_names_every_verb_and_imports_none(bare, monkeypatch) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"{name} was imported"))
    out = bare("--help").stdout
    for verb in VERBS:
        assert f"\n  {verb} " in out


@pytest.mark.parametrize("verb", ["deploy", "invoke", "endpoints", "describe", "top", "logs", "doctor"])
def test_every_verb_has_help_and_json(bare, verb) -> None:
    result = bare(verb, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "--data-dir" in result.stdout


def test_version_and_usage_errors(bare) -> None:
    assert bare("--version").stdout.startswith("trimtab 0.")
    assert bare("no-such-verb").exit_code == 2
    assert bare("describe").exit_code == 2
