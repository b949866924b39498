"""`trimtab doctor`: this machine."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import socket
import subprocess
import types
from pathlib import Path

import pytest

from trimtab.aws import keys
from trimtab.cli import data_dir_checks, machine_checks
from trimtab.cli.data_dir_checks import check_data_dir
from trimtab.cli.findings import Level
from trimtab.cli.machine_checks import check_machine
from trimtab.config import Paths


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def problems_of(data_dir: Path, port: int | None = None) -> list[str]:
    findings = check_data_dir(data_dir, port or free_port())
    return [f"{f.subject}: {f.message} -> {f.cure}" for f in findings if f.level is Level.PROBLEM]


@pytest.fixture
def data_dir(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "version").write_text(f"{Paths.FORMAT}\n")
    return folder


def test_a_new_machine_has_no_problems_with_the_data_dir(tmp_path, data_dir) -> None:
    assert problems_of(tmp_path / "new" / "deep") == []
    assert problems_of(data_dir) == []


def test_another_format_strangers_and_files_are_problems(tmp_path, data_dir) -> None:
    (data_dir / "version").write_text("99\n")
    assert "has format 99" in problems_of(data_dir)[0]
    (data_dir / "version").unlink()
    (data_dir / "thesis.doc").write_text("x")
    assert "holds 'thesis.doc'" in problems_of(data_dir)[0]
    assert "is a file" in problems_of(data_dir / "thesis.doc")[0]


def test_a_key_file_open_to_others_and_a_broken_runtime_table_are_problems(data_dir) -> None:
    keys.ensure(data_dir / "keys.json", now_s=1.0)
    assert problems_of(data_dir) == []
    (data_dir / "keys.json").chmod(0o644)
    (data_dir / "runtimes.toml").write_text("[[runtime]]\nmatch = 3\n")
    found = problems_of(data_dir)
    assert "chmod 600" in found[0]
    assert "runtimes.toml" in found[1]


def test_a_folder_open_to_others_is_a_warning(data_dir) -> None:
    data_dir.chmod(0o755)
    warnings = [f for f in check_data_dir(data_dir, free_port()) if f.level is Level.WARNING]
    assert [f.cure for f in warnings] == [f"chmod 700 {data_dir}"]


def test_a_port_that_is_taken_names_the_program(data_dir) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (found,) = problems_of(data_dir, port)
    assert f"port: {port} is taken by " in found
    assert f"(process {os.getpid()})" in found
    assert "--port" in found


def test_a_running_trimtab_is_no_problem_though_it_holds_lock_and_port(data_dir) -> None:
    (data_dir / "server.json").write_text(json.dumps({"url": "http://h:1", "region": "r", "pid": os.getpid()}))
    handle = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        findings = list(check_data_dir(data_dir, free_port()))
    finally:
        os.close(handle)
    assert findings[-1].message == "serves from this data directory at http://h:1"
    assert findings[-1].level is Level.OK


def test_little_disk_is_a_warning_and_none_a_problem(data_dir, monkeypatch) -> None:
    for free, level in ((10, Level.PROBLEM), (10**9, Level.WARNING), (10**12, Level.OK)):
        usage = types.SimpleNamespace(free=free)
        monkeypatch.setattr(data_dir_checks.shutil, "disk_usage", lambda path, usage=usage: usage)
        (finding,) = (f for f in check_data_dir(data_dir, free_port()) if f.subject == "disk")
        assert finding.level is level


def machine(monkeypatch, data_dir, subject: str):
    findings = [f for f in check_machine(data_dir, free_port()) if f.subject == subject]
    assert findings
    return findings


def test_few_open_files_are_a_warning_with_the_command(monkeypatch, data_dir) -> None:
    monkeypatch.setattr(machine_checks.resource, "getrlimit", lambda which: (256, 100_000))
    assert machine(monkeypatch, data_dir, "open files")[0].cure.startswith("ulimit -n")
    monkeypatch.setattr(machine_checks.resource, "getrlimit", lambda which: (256, 256))
    assert "limits.conf" in machine(monkeypatch, data_dir, "open files")[0].cure
    monkeypatch.setattr(machine_checks.resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert machine(monkeypatch, data_dir, "open files")[0].level is Level.OK


def test_runtimes_that_are_missing_name_their_extra(monkeypatch, data_dir) -> None:
    monkeypatch.setattr(
        machine_checks.importlib.util, "find_spec", lambda name: None if name == "xgboost" else object()
    )
    assert [f.cure for f in machine(monkeypatch, data_dir, "runtimes") if f.cure] == ["pip install 'trimtab[xgboost]'"]


def test_a_wrong_clock_is_a_problem(monkeypatch, data_dir) -> None:
    monkeypatch.setattr(machine_checks.time, "time", lambda: 0.0)
    assert machine(monkeypatch, data_dir, "clock")[0].level is Level.PROBLEM


@pytest.mark.parametrize(
    ("outcome", "level", "expected"),
    [
        (subprocess.CompletedProcess([], 0, "linux", ""), Level.OK, "runs images"),
        (subprocess.CompletedProcess([], 1, "", "Cannot connect"), Level.WARNING, "Cannot connect"),
        (subprocess.TimeoutExpired("docker", 5), Level.WARNING, "does not answer"),
    ],
)
def test_a_container_engine_is_asked_whether_it_works(monkeypatch, data_dir, outcome, level, expected) -> None:
    def run(*args: object, **kwargs: object):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(machine_checks.subprocess, "run", run)
    (finding,) = machine(monkeypatch, data_dir, "containers")
    assert finding.level is level
    assert expected in finding.message


def test_no_container_engine_is_fine(monkeypatch, data_dir) -> None:
    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: None)
    assert machine(monkeypatch, data_dir, "containers")[0].level is Level.OK


def test_a_check_that_fails_is_reported_and_the_others_go_on(monkeypatch, data_dir) -> None:
    def broken(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine_checks.shutil, "disk_usage", broken)
    findings = check_machine(data_dir, free_port())
    assert [f.subject for f in findings].count("check") == 2  # shared memory and the data directory's disk
    assert findings[-1].subject == "clock"


def test_doctor_looks_at_the_machine_by_default(bare, data_dir) -> None:
    document = json.loads(bare("doctor", "--data-dir", str(data_dir), "--port", str(free_port()), "--json").stdout)
    subjects = {finding["subject"] for finding in document["findings"]}
    assert {
        "python",
        "open files",
        "/dev/shm",
        "memory",
        "data dir",
        "disk",
        "port",
        "runtimes",
        "gpus",
        "clock",
    } <= subjects
