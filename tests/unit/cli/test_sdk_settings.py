"""The SDK's telemetry switched off, beside whatever settings the user already has."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from trimtab.cli.render import CliError
from trimtab.cli.sdk_settings import ADMIN, USER, without_telemetry

OWN = """
SchemaVersion: '1.0'
SageMaker:
  PythonSDK:
    Modules:
      Session: {DefaultS3Bucket: mine}
  Model: {EnableNetworkIsolation: true}
"""


def at(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")} | more


def put(path: Path, text: str = OWN) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def read(found: dict[str, str]) -> tuple[str, dict[str, object]]:
    [(variable, path)] = found.items()
    settings = yaml.safe_load(Path(path).read_text())
    return variable, settings["SageMaker"]["PythonSDK"]["Modules"] | {"rest": settings["SageMaker"].get("Model")}


def test_where_nobody_set_anything_the_administrators_place_is_used(tmp_path: Path) -> None:
    variable, modules = read(without_telemetry(at(tmp_path), tmp_path))
    assert (variable, modules["TelemetryOptOut"]) == (ADMIN, True)


def test_the_users_own_file_is_left_where_it_is(tmp_path: Path) -> None:
    put(tmp_path / "home/.config/sagemaker/config.yaml")
    assert read(without_telemetry(at(tmp_path), tmp_path))[0] == ADMIN
    assert read(without_telemetry(at(tmp_path, **{USER: "s3://bucket/settings"}), tmp_path))[0] == ADMIN


def test_an_administrators_file_is_left_where_it_is(tmp_path: Path) -> None:
    put(tmp_path / "xdg/sagemaker/config.yaml")
    assert read(without_telemetry(at(tmp_path), tmp_path))[0] == USER
    assert read(without_telemetry(at(tmp_path, **{ADMIN: "s3://bucket/settings"}), tmp_path))[0] == USER


@pytest.mark.parametrize("place", ["default", "variable", "folder"])
def test_where_both_exist_the_users_is_extended(tmp_path: Path, place: str) -> None:
    environ = at(tmp_path, **{ADMIN: "/etc/whatever.yaml"})
    path = put(tmp_path / "home/.config/sagemaker/config.yaml")
    if place != "default":
        environ[USER] = path if place == "variable" else str(Path(path).parent)
        environ["HOME"] = "/nonexistent"
    variable, modules = read(without_telemetry(environ, tmp_path))
    assert variable == USER
    assert modules["TelemetryOptOut"] is True
    assert modules["Session"] == {"DefaultS3Bucket": "mine"}
    assert modules["rest"] == {"EnableNetworkIsolation": True}


def test_a_user_who_decided_on_telemetry_is_obeyed(tmp_path: Path) -> None:
    text = "SageMaker: {PythonSDK: {Modules: {TelemetryOptOut: false}}}"
    environ = at(tmp_path, **{ADMIN: "/x", USER: put(tmp_path / "own.yaml", text)})
    assert read(without_telemetry(environ, tmp_path))[1]["TelemetryOptOut"] is False


def test_settings_that_are_all_in_s3_stay_as_they_are(tmp_path: Path) -> None:
    assert without_telemetry(at(tmp_path, **{ADMIN: "s3://a/b", USER: "s3://a/c"}), tmp_path) == {}


def test_an_empty_file_counts_as_no_settings(tmp_path: Path) -> None:
    environ = at(tmp_path, **{ADMIN: "/x", USER: put(tmp_path / "own.yaml", "")})
    assert read(without_telemetry(environ, tmp_path))[1]["TelemetryOptOut"] is True


@pytest.mark.parametrize("text", ["{", "- a", "SageMaker: 5", "SageMaker: {PythonSDK: [1]}", "SageMaker:\n", "\x00"])
def test_a_file_that_the_sdk_would_fail_on_is_named(tmp_path: Path, text: str) -> None:
    environ = at(tmp_path, **{ADMIN: "/x", USER: put(tmp_path / "own.yaml", text)})
    with pytest.raises(CliError, match=r"own\.yaml"):
        without_telemetry(environ, tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"missing\.yaml"):
        without_telemetry(at(tmp_path, **{ADMIN: "/x", USER: str(tmp_path / "missing.yaml")}), tmp_path)
