"""`trimtab env` and `trimtab keys`, as a shell meets them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.aws import keys as file
from trimtab.cli.env import bypasses, exports_for
from trimtab.cli.main import app
from trimtab.cli.render import CliError
from trimtab.config import Paths
from trimtab.errors import Invalid

URL = "http://127.0.0.1:7070"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "it's data"
    file.ensure(Paths(folder).keys, now_s=1.0)
    serve_there(folder)
    return folder


def serve_there(folder: Path, **how: object) -> None:
    content = {"url": URL, "region": "eu-west-1", "pid": os.getpid()} | how
    Paths(folder).server.write_text(json.dumps(content))


def call(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def gone_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


def test_the_exports_survive_a_shell(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "old")
    lines = call("env", "--data-dir", str(data_dir))
    script = f"{lines}\nenv"
    done = subprocess.run(["sh", "-c", script], env={"PATH": os.environ["PATH"], "AWS_SESSION_TOKEN": "old"},
                          capture_output=True, text=True, check=True)  # fmt: skip
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    root = file.load(Paths(data_dir).keys)[0]
    assert found["AWS_ENDPOINT_URL"] == URL
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]) == (root.id, root.secret)
    assert found["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert "AWS_SESSION_TOKEN" not in found


def test_values_are_quoted_for_the_shell(data_dir: Path) -> None:
    serve_there(data_dir, region="a b; touch /tmp/x")
    assert "export AWS_DEFAULT_REGION='a b; touch /tmp/x'" in call("env", "--data-dir", str(data_dir))


def test_json_holds_the_same_variables(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    found = json.loads(call("env", "--data-dir", str(data_dir), "--json"))
    assert sorted(found) == ["AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY"]


def test_a_region_variable_that_would_win_is_set_too(data_dir: Path) -> None:
    assert exports_for(data_dir, {"AWS_REGION": "us-west-2"}).set["AWS_REGION"] == "eu-west-1"
    assert "AWS_REGION" not in exports_for(data_dir, {"AWS_REGION": "eu-west-1"}).set


def test_a_proxy_in_the_environment_is_kept_away_from_trimtab(data_dir: Path) -> None:
    proxied = {"http_proxy": "http://proxy.internal:3128"}
    assert exports_for(data_dir, proxied).set["NO_PROXY"] == "127.0.0.1"
    assert exports_for(data_dir, proxied | {"NO_PROXY": "a.internal"}).set["no_proxy"] == "a.internal,127.0.0.1"
    assert "NO_PROXY" not in exports_for(data_dir, proxied | {"no_proxy": "127.0.0.1"}).set
    assert "NO_PROXY" not in exports_for(data_dir, {}).set


@pytest.mark.parametrize("how", ["nothing", "garbage", "wrong shape", "gone"])
def test_without_a_running_trimtab_env_says_how_to_start_one(data_dir: Path, how: str) -> None:
    server = Paths(data_dir).server
    if how == "nothing":
        server.unlink()
    elif how == "gone":
        serve_there(data_dir, pid=gone_pid())
    else:
        server.write_text("{" if how == "garbage" else '{"url": 5}')
    with pytest.raises(CliError) as caught:
        exports_for(data_dir, {})
    assert "trimtab serve --data-dir '" in caught.value.hint
    assert "error:" in call("env", "--data-dir", str(data_dir), code=1)


def test_a_key_file_open_to_others_is_not_printed(data_dir: Path) -> None:
    Paths(data_dir).keys.chmod(0o644)
    with pytest.raises(Invalid, match="chmod 600"):
        exports_for(data_dir, {})


def test_where_there_are_no_keys_clients_still_get_something_to_sign_with(data_dir: Path) -> None:
    Paths(data_dir).keys.unlink()
    assert exports_for(data_dir, {}).set["AWS_ACCESS_KEY_ID"] == "unsigned"


def test_keys_are_created_listed_and_deleted(data_dir: Path) -> None:
    where = ("--data-dir", str(data_dir))
    made = json.loads(
        call(
            "keys",
            "create",
            *where,
            "--name",
            "ci",
            "--action",
            "sagemaker:InvokeEndpoint",
            "--endpoint",
            "a",
            "--json",
        )
    )
    assert len(made["secret"]) == 40
    listed = json.loads(call("keys", "list", *where, "--json"))
    assert [key["name"] for key in listed] == ["root", "ci"]
    assert listed[1]["actions"] == ["sagemaker:InvokeEndpoint"]
    assert all("secret" not in key for key in listed)
    text = call("keys", "list", *where)
    assert "sagemaker:InvokeEndpoint on a" in text
    assert made["secret"] not in text
    assert made["id"] in call("keys", "delete", made["id"], *where)
    assert len(json.loads(call("keys", "list", *where, "--json"))) == 1


def test_a_new_key_is_printed_once_with_its_secret(data_dir: Path) -> None:
    text = call("keys", "create", "--data-dir", str(data_dir))
    key = file.load(Paths(data_dir).keys)[1]
    assert text.splitlines() == [f"AWS_ACCESS_KEY_ID={key.id}", f"AWS_SECRET_ACCESS_KEY={key.secret}"]


def test_a_key_for_an_endpoint_may_invoke_and_describe_it_unless_told_otherwise(
    data_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call("keys", "create", "--endpoint", "shop", "--data-dir", str(data_dir))
    made = file.load(Paths(data_dir).keys)[1]
    assert made.endpoints == ("shop",)
    assert set(made.actions) == {
        "sagemaker:InvokeEndpoint",
        "sagemaker:InvokeEndpointWithResponseStream",
        "sagemaker:DescribeEndpoint",
    }


@pytest.mark.parametrize("arguments", [("delete", "nobody"), ("delete", "root"), ("create", "--action", "bad")])
def test_what_cannot_be_done_with_keys_is_an_error_without_traceback(
    data_dir: Path, arguments: tuple[str, ...]
) -> None:
    output = call("keys", *arguments, "--data-dir", str(data_dir), code=1)
    assert "error:" in output
    assert "Traceback" not in output


def test_keys_leave_a_folder_that_is_not_trimtabs_alone(tmp_path: Path) -> None:
    call("keys", "create", "--data-dir", str(tmp_path), code=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "no_proxy", "covered"),
    [
        ("sts.us-east-1.amazonaws.com", ".amazonaws.com", True),
        ("sts.us-east-1.amazonaws.com", "amazonaws.com", True),
        ("sts.us-east-1.amazonaws.com", "*", True),
        ("sts.us-east-1.amazonaws.com", "localhost", False),
        ("sts.us-east-1.amazonaws.com", "", False),
    ],
)
def test_no_proxy_lists_are_read_as_python_reads_them(host: str, no_proxy: str, covered: bool) -> None:
    assert bypasses(host, no_proxy) is covered
