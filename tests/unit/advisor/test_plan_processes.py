"""The processes in which a plan simulates its candidates."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from trimtab.engines.local.processes import start_ticks
from trimtab.testing.waiting import wait_until

PLAN = """
import os, pathlib, sys, threading
from plan_world import Prices, a_scenario, a_workload, an_endpoint
from trimtab.advisor.plan import trials

def simulate(scenario, architecture):
    (pathlib.Path(sys.argv[1]) / str(os.getpid())).touch()
    threading.Event().wait()

if __name__ == "__main__":
    trials._ALONE_S = 0.0
    with trials.Trials(a_scenario(a_workload()), Prices(), simulate, workers=2) as tried:
        tried.of([an_endpoint(min_replicas=count) for count in (1, 2)])
"""


def test_they_end_with_a_plan_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "plan.py").write_text(PLAN)
    pids = tmp_path / "pids"
    pids.mkdir()
    env = {"PYTHONPATH": str(Path(__file__).parent), "PATH": ""}
    with subprocess.Popen([sys.executable, tmp_path / "plan.py", pids], env=env) as plan:
        try:
            wait_until(lambda: len(list(pids.iterdir())) == 2 or plan.poll() is not None, "both simulate")
            assert plan.poll() is None
        finally:
            plan.kill()
    wait_until(lambda: all(start_ticks(int(path.name)) is None for path in pids.iterdir()), "nobody simulates any more")


SCENARIO = """
name: long
workloads:
  fraud:
    arrivals: {rate: 30, for: 30h}
    work: {ml.g4dn.xlarge: 60ms, ml.m5.large: 150ms}
    slo: p99=1s
  search:
    arrivals: {rate: 30, for: 30h}
    work: {ml.g4dn.xlarge: 60ms, ml.m5.large: 150ms}
    slo: p99=1s
architectures:
  before:
    fraud: {instance_type: ml.g4dn.xlarge, replicas: 4, start: 4m}
    search: {instance_type: ml.g4dn.xlarge, replicas: 4, start: 4m}
"""
VERB = """
import signal, sys
from trimtab.advisor.plan import trials
from trimtab.cli.main import app

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in a shell's background ignores it
    trials._ALONE_S = 0.0
    sys.argv = ["trimtab", "plan", sys.argv[1], "--workers", "2"]
    app()
"""


def test_the_terminals_ctrl_c_ends_them_at_once_and_shows_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "verb.py").write_text(VERB)
    (tmp_path / "long.yaml").write_text(SCENARIO)
    said = tmp_path / "said.txt"
    with (
        said.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, tmp_path / "verb.py", tmp_path / "long.yaml"],
            stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True,
        ) as plan,
    ):  # fmt: skip
        try:
            wait_until(lambda: "searching: scaling" in said.read_text() or plan.poll() is not None, "it searches")
            assert plan.poll() is None, said.read_text()
            os.killpg(plan.pid, signal.SIGINT)  # as a terminal does: to all of them
            shown, _ = plan.communicate()
        finally:
            plan.kill()
    assert plan.returncode == 130, said.read_text()
    assert "note: stopped before the end: this is the best of what had been tried by then" in shown
    assert "planned  fraud" in shown
    assert "Traceback" not in said.read_text()
