"""The processes in which a plan simulates its candidates."""

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
