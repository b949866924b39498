"""Processes that are killed, that leave others behind, or that end by Ctrl-C: always converging, and nothing left."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from trimtab.config import Paths
from trimtab.testing.artifacts import ECHO, archive, script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

Serve = Callable[..., Trimtab]
pytestmark = pytest.mark.slow


def settled_everywhere(trimtab: Trimtab, sagemaker: object) -> bool:
    """Every endpoint is at rest with all that it wants, and there is no worker and no file besides."""
    wanted = 0
    for summary in sagemaker.list_endpoints()["Endpoints"]:  # type: ignore[attr-defined]
        endpoint = sagemaker.describe_endpoint(EndpointName=summary["EndpointName"])  # type: ignore[attr-defined]
        if endpoint["EndpointStatus"] not in ("InService", "Failed"):
            return False
        for variant in endpoint.get("ProductionVariants", []) if endpoint["EndpointStatus"] == "InService" else []:
            if variant["CurrentInstanceCount"] != variant["DesiredInstanceCount"]:
                return False
            wanted += variant["DesiredInstanceCount"]
    files = list(Paths(trimtab.data_dir).workers_dir.iterdir())
    return len(trimtab.processes("trimtab: worker")) == wanted and len(files) == 2 * wanted


def change_something(sagemaker: object, rng: random.Random) -> None:
    """One call at random; refused ones (what is not there, what is busy) are part of it."""
    name, count = rng.choice(("a", "b")), rng.randint(1, 3)
    counts = [{"VariantName": "blue", "DesiredInstanceCount": count}]
    calls: list[tuple[str, dict[str, object]]] = [
        ("create_endpoint", {"EndpointConfigName": f"good{count}"}),
        ("update_endpoint", {"EndpointConfigName": f"good{count}"}),
        ("update_endpoint", {"EndpointConfigName": "bad"}),
        ("update_endpoint_weights_and_capacities", {"DesiredWeightsAndCapacities": counts}),
        ("delete_endpoint", {}),
    ]
    call, arguments = rng.choice(calls)
    try:
        getattr(sagemaker, call)(EndpointName=name, **arguments)
    except (ClientError, BotoCoreError):
        return


def test_control_and_nursery_killed_at_any_moment_of_any_change_still_converge(serve: Serve) -> None:
    trimtab = serve()
    rng = random.Random(7)
    trimtab.create_model("good", script(ECHO))
    trimtab.create_model("bad", script("def model_fn(d): raise ValueError('broken')\n"))
    for count in (1, 2, 3):
        trimtab.create_config(f"good{count}", "good", count)
    trimtab.create_config("bad", "bad")
    patient = trimtab.client("sagemaker", retries={"mode": "legacy", "total_max_attempts": 10})
    for kill in range(6):
        for _ in range(rng.randint(1, 4)):
            change_something(patient, rng)
        time.sleep(rng.random() * 0.1)  # the moment is the point
        for process in trimtab.processes("trimtab: nursery" if kill % 3 == 2 else "trimtab: control"):
            process.kill()
    wait_until(lambda: settled_everywhere(trimtab, patient), "everything is at rest")
    for endpoint in patient.list_endpoints(StatusEquals="InService")["Endpoints"]:
        assert trimtab.invoke(endpoint["EndpointName"], b"x") == b"x"


LEAVES_DAEMONS = """
import os, subprocess
def model_fn(model_dir):
    left = subprocess.Popen(["sleep", "600"], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        import time
        while True:
            time.sleep(60)
    os.wait()
    return left.pid
def transform_fn(model, body, content_type, accept):
    return str(model), "text/plain"
"""


def test_what_a_model_leaves_running_ends_with_it(serve: Serve, name: str) -> None:
    trimtab = serve()
    below = psutil.Process(trimtab.process.pid)
    before = {process.pid for process in below.children(recursive=True)}
    trimtab.deploy(name, script(LEAVES_DAEMONS))
    assert psutil.pid_exists(int(trimtab.invoke(name, b"")))
    trimtab.sagemaker.delete_endpoint(EndpointName=name)

    def left() -> set[int]:
        spares = {process.pid for process in trimtab.processes("trimtab: spare")}  # the nursery's, for the next start
        return {process.pid for process in below.children(recursive=True)} - before - spares

    wait_until(lambda: not left(), "daemons have ended")


def test_a_stop_takes_along_what_models_left_running(serve: Serve, name: str) -> None:
    trimtab = serve()
    trimtab.deploy(name, script(LEAVES_DAEMONS))
    left = psutil.Process(int(trimtab.invoke(name, b"")))
    began_s = time.monotonic()
    assert trimtab.stop() == 0
    assert time.monotonic() - began_s < 10
    assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE


PROGRAM = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(body.upper() + b" " + str(os.getpid()).encode())
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


def test_a_program_is_deployed_outlives_control_and_is_replaced_when_killed(serve: Serve, name: str) -> None:
    trimtab = serve()
    command = f"{sys.executable} {{model_dir}}/server.py"
    trimtab.deploy(name, archive(server_py=PROGRAM), image="trimtab://command", TRIMTAB_COMMAND=command)
    answer, pid = trimtab.invoke(name, b"hello").split()
    assert answer == b"HELLO"
    trimtab.processes("trimtab: control")[0].kill()
    assert trimtab.invoke(name, b"still").split() == [b"STILL", pid]
    patient = trimtab.client("sagemaker", retries={"mode": "standard", "total_max_attempts": 3})
    assert patient.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"
    assert trimtab.invoke(name, b"still").split()[1] == pid
    os.kill(int(pid), signal.SIGKILL)

    def answered_by_another() -> bool:
        try:
            return trimtab.invoke(name, b"again").split()[1] != pid
        except ClientError:
            return False

    wait_until(answered_by_another, "another program answers")


SLOW = """
import os, time
def model_fn(model_dir): return None
def transform_fn(model, body, content_type, accept):
    name = os.fsdecode(body)
    while name != "now" and not os.path.exists(name):
        time.sleep(0.01)
    if name != "now":
        time.sleep(1)
    return body, "text/plain"
"""


def test_a_restart_at_once_after_the_supervisor_was_killed_counts_on_nothing_that_is_dying(
    serve: Serve, name: str, tmp_path: Path
) -> None:
    trimtab = serve()
    trimtab.deploy(name, script(SLOW))
    flag = tmp_path / "go on"
    [worker] = trimtab.processes("trimtab: worker")
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(trimtab.invoke(name, bytes(flag))))
    thread.start()
    wait_until(lambda: '"in_flight": 1' in trimtab.cli("describe", name, "--json"), "the request is in hand")
    trimtab.process.kill()
    trimtab.process.wait()
    flag.touch()  # its answer takes another second: the next server begins while it is under way
    again = serve(data_dir=trimtab.data_dir)
    again.settled(name)
    assert again.invoke(name, b"now") == b"now"
    assert worker.pid not in {process.pid for process in again.processes("trimtab: worker")}
    thread.join()
    assert answers == [bytes(flag)]  # what was in hand was finished


def test_ctrl_c_ends_all_at_once_and_says_nothing_ugly(serve: Serve, name: str) -> None:
    trimtab = serve()
    trimtab.deploy(name, script(ECHO))
    below = psutil.Process(trimtab.process.pid).children(recursive=True)
    began_s = time.monotonic()
    trimtab.process.send_signal(signal.SIGINT)
    assert trimtab.process.wait(timeout=20) == 0
    assert time.monotonic() - began_s < 5
    assert not [process for process in below if process.is_running()]
    assert not Paths(trimtab.data_dir).run_dir.exists()
    log = trimtab.log_path.read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log


def test_with_enforced_shapes_room_that_is_coming_free_is_waited_for(serve: Serve) -> None:
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(cpus)[:2]))
    try:
        trimtab = serve("--enforce-instance-shapes")  # on a machine with room for one replica
    finally:
        os.sched_setaffinity(0, cpus)
    trimtab.create_model("m", script(ECHO))
    trimtab.create_config("all", "m", InstanceType="ml.c5.large")
    trimtab.sagemaker.create_endpoint(EndpointName="first", EndpointConfigName="all")
    trimtab.settled("first")
    trimtab.sagemaker.create_endpoint(EndpointName="second", EndpointConfigName="all")
    refused = trimtab.settled("second", "Failed")
    assert "(NoCapacity)" in refused["FailureReason"]
    assert "do not enforce shapes" in refused["FailureReason"]
    trimtab.sagemaker.delete_endpoint(EndpointName="first")
    trimtab.sagemaker.create_endpoint(EndpointName="third", EndpointConfigName="all")
    trimtab.settled("third")
