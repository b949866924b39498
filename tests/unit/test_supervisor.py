"""The supervisor keeps its children running, and stops them in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab import supervisor

CHILD = """
import os, signal, sys, time
name, folder = sys.argv[1:3]
with open(os.path.join(folder, "births"), "a") as births:
    births.write(f"{name} {os.getpid()}\\n")
def stop(*_):
    with open(os.path.join(folder, "stops"), "a") as stops:
        stops.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
os.write(int(os.environ["TRIMTAB_READY_FD"]), b"1")
if os.read(int(os.environ["TRIMTAB_LIFELINE_FD"]), 1) == b"":
    with open(os.path.join(folder, "lifeline-ended"), "a") as ended:
        ended.write(name + "\\n")
"""


class Running:
    """A supervisor in a process of its own, with children that note their births and ends."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder = folder
        argv = [sys.executable, "-c", CHILD]
        orders = {
            "children": [{"name": n, "argv": [*argv, n, str(folder)], "fds": []} for n in names],
            "server_file": str(folder / "server.json"),
            "url": "http://127.0.0.1:1",
            "region": "us-east-1",
            "run_dir": str(folder / "run"),
            "record_dirs": [str(folder / "run" / "w"), str(folder / "run" / "m")],
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trimtab.supervisor"],
            env=dict(os.environ, TRIMTAB_SUPERVISE=json.dumps(orders)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def births(self) -> list[tuple[str, int]]:
        path = self.folder / "births"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def ready_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Running] = []

    def begin(*names: str) -> Running:
        running.append(Running(tmp_path, list(names)))
        return running[-1]

    yield begin
    for one in running:
        one.process.terminate()
        one.process.communicate(timeout=30)


def wait_for_line(stream: object, text: str) -> None:
    """Read lines until one holds `text`; the stream's end means that it never came."""
    for line in stream:  # type: ignore[attr-defined]
        if text in line:
            return
    raise AssertionError(f"{text!r} never came")


def test_it_says_ready_once_every_child_is(start: Start, tmp_path: Path) -> None:
    running = start("control", "gateway-0")
    assert running.ready_line() == "trimtab ready at http://127.0.0.1:1\n"
    assert {name for name, _ in running.births()} == {"control", "gateway-0"}
    assert json.loads((tmp_path / "server.json").read_text())["pid"] == running.process.pid


def test_a_child_killed_is_started_again_and_the_others_left_alone(start: Start) -> None:
    running = start("control", "gateway-0")
    running.ready_line()
    before = dict(running.births())
    os.kill(before["control"], signal.SIGKILL)
    wait_for_line(running.process.stderr, "control was killed by SIGKILL")
    while len(running.births()) < 3:
        os.sched_yield()
    assert [name for name, _ in running.births()].count("gateway-0") == 1


def test_it_stops_gateways_before_what_they_need(start: Start, tmp_path: Path) -> None:
    (tmp_path / "run" / "w").mkdir(parents=True)
    running = start("control", "gateway-0", "nursery")
    running.ready_line()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(timeout=30) == 0
    assert (tmp_path / "stops").read_text().splitlines()[0] == "gateway-0"
    assert not (tmp_path / "server.json").exists()
    assert not (tmp_path / "run").exists()


def test_children_learn_of_its_sudden_death_by_their_lifeline(start: Start, tmp_path: Path) -> None:
    running = start("control", "nursery")
    running.ready_line()
    pids = [os.pidfd_open(pid) for _, pid in running.births()]
    running.process.kill()
    import select

    for pid in pids:
        assert select.select([pid], [], [], 10)[0], "a child outlived its supervisor"
        os.close(pid)
    assert sorted((tmp_path / "lifeline-ended").read_text().split()) == ["control", "nursery"]


@given(st.integers(0, 10_000))
def test_backoff_starts_at_nothing_and_never_passes_its_bound(deaths: int) -> None:
    assert 0.0 <= supervisor.backoff_s(deaths) <= supervisor.MAX_BACKOFF_S
    assert supervisor.backoff_s(deaths) <= supervisor.backoff_s(deaths + 1)
    assert supervisor.backoff_s(1) == 0.0
