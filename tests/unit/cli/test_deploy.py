"""`trimtab deploy`: from files to an endpoint."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from trimtab.aws import client
from trimtab.cli import deployment
from trimtab.resources.replica import Failure, ReplicaState, ReplicaStatus

SCRIPT = "def model_fn(model_dir):\n    return 1\n\ndef predict_fn(data, model):\n    return data\n"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(SCRIPT)
    (folder / "weights.bin").write_bytes(b"\0" * 1000)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"x")
    return folder


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(deployment, "_POLL_S", 0.01)


def only_archive(world) -> tarfile.TarFile:
    ((key, data),) = world.objects.objects.items()
    assert key.startswith("sagemaker-eu-west-1-123456789012/trimtab/e/")
    return tarfile.open(fileobj=io.BytesIO(data), mode="r:gz")


def test_a_folder_becomes_an_endpoint_in_one_step(trimtab, world, model) -> None:
    result = trimtab("deploy", str(model), "--name", "e", "--count", "2", "--env", "A=1", "--env", "B=x=y")
    assert result.exit_code == 0, result.output
    assert "e is InService" in result.stdout
    assert "trimtab invoke e" in result.stdout
    assert "uploading" in result.stderr
    endpoint = world.control.endpoints["e"]
    (variant,) = world.control.configs[endpoint.config_name].variants
    assert (variant.name, variant.initial_count, variant.instance_type) == ("AllTraffic", 2, "ml.m5.large")
    (container,) = world.control.models[variant.model_name].containers
    assert (container.image, container.environment) == ("trimtab://python", {"A": "1", "B": "x=y"})
    with only_archive(world) as archive:
        assert archive.getnames() == ["code/inference.py", "weights.bin"]


def test_json_says_what_was_made_and_nothing_else_is_said(trimtab, world, model) -> None:
    result = trimtab("deploy", str(model), "--name", "e", "--json")
    document = json.loads(result.stdout)
    assert (document["endpoint"], document["status"]) == ("e", "InService")
    assert document["artifact"].startswith("s3://sagemaker-eu-west-1-123456789012/trimtab/e/")
    assert document["config"] == world.control.endpoints["e"].config_name
    assert result.stderr == ""


def test_an_endpoint_that_exists_is_updated_and_the_same_files_are_not_sent_again(trimtab, world, model) -> None:
    assert trimtab("deploy", str(model), "--name", "e").exit_code == 0
    first = world.control.endpoints["e"].config_name
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 0, result.output
    assert "already" in result.stderr
    assert world.objects.puts == 1
    assert world.control.endpoints["e"].config_name != first
    assert world.control.calls[-1][0] == "update_endpoint"


def test_one_model_file_is_enough(trimtab, world, tmp_path) -> None:
    file = tmp_path / "fraud.onnx"
    file.write_bytes(b"onnx")
    assert trimtab("deploy", str(file), "--name", "e").exit_code == 0
    with only_archive(world) as archive:
        assert archive.getnames() == ["fraud.onnx"]


def test_script_and_requirements_go_into_code(trimtab, world, tmp_path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"w")
    (tmp_path / "handlers.py").write_text(SCRIPT)
    (tmp_path / "needs.txt").write_text("numpy>=1\n")
    result = trimtab(
        *("deploy", str(tmp_path / "weights.bin"), "--name", "e"),
        *("--script", str(tmp_path / "handlers.py"), "--requirements", str(tmp_path / "needs.txt")),
    )
    assert result.exit_code == 0, result.output
    with only_archive(world) as archive:
        assert archive.getnames() == ["code/inference.py", "code/requirements.txt", "weights.bin"]


def test_an_archive_is_sent_as_it_is(trimtab, world, model, tmp_path) -> None:
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(model / "code", "code")
    assert trimtab("deploy", str(path), "--name", "e").exit_code == 0
    assert list(world.objects.objects.values()) == [path.read_bytes()]


def test_a_large_archive_goes_in_parts(trimtab, world, model, monkeypatch) -> None:
    monkeypatch.setattr(client, "PART_BYTES", 100)
    (model / "noise.bin").write_bytes(bytes(range(256)) * 2)
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 0, result.output
    assert len(world.objects.parts) > 2
    with only_archive(world) as archive:
        assert "noise.bin" in archive.getnames()


def test_a_model_that_cannot_work_is_not_uploaded(trimtab, world, model) -> None:
    (model / "code" / "inference.py").write_text("def model_fn(:\n")
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 1
    assert "error: code/inference.py: line 1:" in result.stderr
    assert "hint:" in result.stderr
    assert not world.objects.objects
    assert "Traceback" not in result.output


def test_an_image_that_trimtab_does_not_run_itself_needs_no_known_model_file(trimtab, world, tmp_path) -> None:
    folder = tmp_path / "any"
    folder.mkdir()
    (folder / "whatever.bin").write_bytes(b"x")
    image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mine:1"
    assert trimtab("deploy", str(folder), "--name", "e", "--image", image).exit_code == 0
    assert trimtab("deploy", str(folder), "--name", "f").exit_code == 1


def failed_replica(world, name: str) -> None:
    world.control.replicas[name] = (
        ReplicaStatus(
            id="r1",
            endpoint=name,
            variant="AllTraffic",
            version=world.control.endpoints[name].config_name,
            state=ReplicaState.FAILED,
            failure=Failure(reason="ModelLoadFailed", message="model_fn raised", tail="Traceback ...\nKeyError: 'w'"),
        ),
    )


def test_a_failed_creation_says_why_with_the_last_lines_of_the_log(trimtab, world, model) -> None:
    def fail(name: str) -> None:
        failed_replica(world, name)
        world.control.fail(name, "model_fn raised KeyError: 'w'")

    world.on_order = fail
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 1
    assert "error: The endpoint e is Failed: model_fn raised KeyError: 'w'" in result.stderr
    assert "    KeyError: 'w'" in result.stderr
    assert "trimtab logs e" in result.stderr
    as_json = json.loads(trimtab("deploy", str(model), "--name", "e2", "--json").stdout)
    assert (as_json["status"], as_json["log_tail"][-1]) == ("Failed", "KeyError: 'w'")


def test_a_failed_endpoint_is_made_anew(trimtab, world, model) -> None:
    world.on_order = lambda name: world.control.fail(name, "no")
    assert trimtab("deploy", str(model), "--name", "e").exit_code == 1
    world.on_order = world.control.settle
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 0, result.output
    assert "making it anew" in result.stderr


def test_a_failed_update_says_that_the_old_version_serves_and_shows_the_log(trimtab, world, model) -> None:
    assert trimtab("deploy", str(model), "--name", "e").exit_code == 0
    old = world.control.endpoints["e"].config_name
    log = world.logs / "e" / "AllTraffic" / "r2.log"
    log.parent.mkdir(parents=True)
    log.write_text("loading\nValueError: bad weights\n")
    world.on_order = lambda name: world.control.fail(name, "health check failed")
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 1
    assert f"The update of e failed, and {old} still serves: health check failed" in result.stderr
    assert "ValueError: bad weights" in result.stderr


def test_what_was_made_in_vain_goes_again(trimtab, world, model, monkeypatch) -> None:
    def refuse(*args, **kwargs):
        raise client.CallFailed("ResourceLimitExceeded", "no more endpoints")

    monkeypatch.setattr(type(world.control), "create_endpoint", refuse)
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 1
    assert not world.control.models
    assert not world.control.configs


def test_ctrl_c_while_waiting_stops_waiting_and_says_that_it_goes_on(trimtab, world, model, monkeypatch) -> None:
    world.on_order = lambda name: None

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(deployment.time, "sleep", interrupted)
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 130
    assert "goes on" in result.stderr
    assert world.control.endpoints["e"].status == "Creating"


def test_ctrl_c_before_the_endpoint_is_ordered_leaves_nothing(trimtab, world, model, monkeypatch) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client.Client, "upload", interrupted)
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 130
    assert not world.control.models
    assert not world.control.endpoints


def test_an_endpoint_in_progress_is_left_alone(trimtab, world, model) -> None:
    world.on_order = lambda name: None
    assert trimtab("deploy", str(model), "--name", "e", "--no-wait").exit_code == 0
    result = trimtab("deploy", str(model), "--name", "e")
    assert result.exit_code == 1
    assert "e is Creating: it cannot be changed now" in result.stderr


def test_waiting_has_an_end(trimtab, world, model) -> None:
    world.on_order = lambda name: None
    result = trimtab("deploy", str(model), "--name", "e", "--timeout", "1")
    assert result.exit_code == 1
    assert "not in service after 1 s" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--name", "not_a_name"), "cannot be an endpoint's name"),
        (("--name", "e", "--env", "NOVALUE"), "is not KEY=VALUE"),
        (("--name", "e", "--script", "/nowhere.py"), "cannot be read"),
    ],
)
def test_wrong_options_are_refused_before_anything_happens(trimtab, world, model, arguments, expected) -> None:
    result = trimtab("deploy", str(model), *arguments)
    assert result.exit_code == 1
    assert expected in result.stderr
    assert not world.objects.objects


def test_a_model_that_is_not_there_is_said_so(trimtab) -> None:
    result = trimtab("deploy", "/no/such/model", "--name", "e")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (1, "error: /no/such/model does not exist.")


def test_names_of_versions_fit_in_aws_limits(trimtab, world, model) -> None:
    name = "n" * 63
    assert trimtab("deploy", str(model), "--name", name).exit_code == 0
    assert len(world.control.endpoints[name].config_name) <= 63
