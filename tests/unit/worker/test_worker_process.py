"""The worker's life, seen from control: born, ready or failed, busy, drained, stopped, orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Runtime
from trimtab.wire.frames import Kind

ECHO = "def model_fn(d): return d\ndef transform_fn(m, data, ct, accept): return data, ct\n"


def script(text: str) -> dict[str, str]:
    return {"code/inference.py": textwrap.dedent(text)}


def test_a_worker_answers_and_says_what_its_start_cost(start):
    worker = start(script(ECHO)).ready()

    answer = worker.client().ask(b'{"a": 1}', "application/json")
    description = worker.client().describe()

    assert (answer.kind, answer.payload, answer.answer.content_type) == (Kind.ANSWER, b'{"a": 1}', "application/json")
    assert msgspec.msgpack.decode(description.spec, type=ReplicaSpec).endpoint == "payments"
    assert (description.replica_id, description.pid, description.in_flight) == ("r0", worker.pid, 0)
    for step_s in (description.fork_s, description.import_s, description.load_s, description.warm_s):
        assert step_s is not None
        assert 0 <= step_s < 10
    assert "trimtab: ready" in worker.log()


def test_a_fresh_interpreter_is_the_same_worker(tmp_path):
    (tmp_path / "m" / "code").mkdir(parents=True)
    (tmp_path / "m" / "code" / "inference.py").write_text(ECHO)
    spec = ReplicaSpec(id="r", endpoint="e", variant="v", version="1", model_name="m", runtime=Runtime())
    launch = WorkerLaunch(
        spec=msgspec.msgpack.encode(spec),
        socket_path=str(tmp_path / "s"),
        model_dir=str(tmp_path / "m"),
        environment={"SAGEMAKER_PROGRAM": "inference.py"},
    )
    command = [sys.executable, "-W", "error", "-m", "trimtab.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(msgspec.msgpack.encode(launch))
        process.stdin.close()
        said = process.stderr.readline()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0, process.stderr.read()
    assert b"ready" in said


def test_control_sees_starting_while_the_model_loads_and_hears_of_ready(start, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    worker = start(script(f"def model_fn(d): return open({str(gate)!r}).read()\ndef predict_fn(d, m): return m"))
    control = worker.client()

    assert control.describe().state == "Starting"
    gate.write_text("open")
    assert control.description().state == "Ready"
    assert worker.client().ask(b"[1]").payload == b'"open"'


def test_a_request_that_comes_before_the_model_is_loaded_is_held_and_answered(start, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    worker = start(script(f"def model_fn(d): return open({str(gate)!r}).read()\ndef predict_fn(d, m): return d"))
    early = worker.client()
    early.request(5, b"[5]", "application/json")
    gate.write_text("open")

    assert early.receive().payload == b"[5]"


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("import no_such_module", "ModelLoadFailed", "requirements.txt"),
        ("def model_fn(d): raise ValueError('weights are missing')", "ModelLoadFailed", "weights are missing"),
        ("def model_fn(d): raise MemoryError()", "OutOfMemory", "larger instance"),
        (
            "class OutOfMemoryError(RuntimeError): 'as torch has it'\ndef model_fn(d): raise OutOfMemoryError('CUDA')",
            "OutOfMemory",
            "CUDA",
        ),
        ("import sys\ndef model_fn(d): sys.exit(3)", "ModelLoadFailed", "sys.exit(3)"),
        ("def model_fn(a, b, c): pass", "ModelLoadFailed", "model_fn must take 1 arguments (model_dir)"),
        (
            "def model_fn(d): return d\ndef transform_fn(a, b, c, d): 0\ndef input_fn(a, b): 0",
            "ModelLoadFailed",
            "together",
        ),
        ("def model_fn(", "ModelLoadFailed", "SyntaxError"),
    ],
)
def test_a_model_that_cannot_be_loaded_fails_with_its_reason_and_stays_to_say_so(start, text, reason, said):
    worker = start(script(text))

    description = worker.until("Failed")

    assert description.failure_reason == reason
    assert said in description.failure_message
    assert worker.client().ask(b"[1]").kind is Kind.REFUSED
    worker.client().send(Kind.STOP)
    assert worker.wait() == 0


def test_the_tail_of_a_failure_begins_at_the_models_own_code(start):
    worker = start(script("def model_fn(d):\n    return helper(d)\ndef helper(d):\n    return 1 / 0\n"))

    tail = worker.until("Failed").failure_tail

    assert tail.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert "inference.py" in tail
    assert "trimtab/worker" not in tail


def test_drain_answers_what_is_in_hand_refuses_what_is_new_and_exits_0(start, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    worker = start(
        script(f"def model_fn(d): 0\ndef predict_fn(d, m): return open({str(gate)!r}).read() if d[0] else 'quick'")
    ).ready()
    gateway, control = worker.client(), worker.client()
    gateway.request(1, b"[1]", "application/json")
    gateway.request(2, b"[0]", "application/json")
    control.describe_until(lambda d: d.in_flight == 2)
    control.send(Kind.DRAIN)
    assert control.description().state == "Draining"
    late = worker.client()
    late.request(3, b"[0]", "application/json")
    gate.write_text("slow")

    assert [gateway.receive().payload for _ in range(2)] == [b'"slow"', b'"quick"']
    assert worker.wait() == 0
    assert not Path(worker.path).exists()
    try:
        assert late.receive().kind is Kind.REFUSED
    except (EOFError, ConnectionResetError):
        pass  # it was never read: the gateway knows that it was not worked on


def test_a_worker_of_a_host_refuses_what_was_sent_before_its_gateways_heard_that_it_leaves(start):
    worker = start(script(ECHO), owned=True)
    control = worker.client()
    control.describe_until(lambda d: d.state == "Ready")
    asked, silent = worker.client(), worker.client()
    assert asked.ask(b"1").payload == b"1"
    control.send(Kind.DRAIN)
    control.describe_until(lambda d: d.state == "Draining")

    assert [gateway.ask(b"2").kind for gateway in (asked, silent)] == [Kind.REFUSED, Kind.REFUSED]
    asked.close()
    assert silent.ask(b"3").kind is Kind.REFUSED
    silent.close()
    assert worker.wait() == 0


def test_a_worker_of_a_host_does_not_wait_for_ever_for_gateways_to_hang_up(start):
    worker = start(script(ECHO), owned=True)
    control = worker.client()
    control.describe_until(lambda d: d.state == "Ready")
    gateway = worker.client()
    assert gateway.ask(b"1").payload == b"1"
    control.send(Kind.DRAIN)

    assert gateway.is_closed()
    assert worker.wait() == 0


def test_stop_ends_it_at_once_also_while_the_model_hangs(start, tmp_path):
    worker = start(
        script("import threading\ndef model_fn(d): 0\ndef predict_fn(d, m): threading.Event().wait()")
    ).ready()
    gateway = worker.client()
    gateway.request(1, b"[1]", "application/json")
    control = worker.client()
    control.describe_until(lambda d: d.busy_since_monotonic_s)
    control.send(Kind.STOP)

    assert worker.wait() == 0
    assert gateway.is_closed()


def test_a_hung_request_shows_since_when_without_being_asked_twice(start):
    worker = start(
        script("import threading\ndef model_fn(d): 0\ndef predict_fn(d, m): threading.Event().wait()")
    ).ready()
    control = worker.client()
    assert control.describe().busy_since_monotonic_s == 0
    worker.client().request(1, b"[1]", "application/json")

    pushed = control.description()

    assert pushed.busy_since_monotonic_s > 0
    assert pushed.in_flight == 1


@pytest.mark.parametrize("how", ["signal", "order"])
def test_an_idle_worker_drains_at_once(start, how):
    worker = start(script(ECHO)).ready()
    if how == "signal":
        os.kill(worker.pid, signal.SIGTERM)
    else:
        worker.client().send(Kind.DRAIN)

    assert worker.wait() == 0


def test_the_end_of_the_lifeline_lets_the_work_in_hand_finish(start, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    worker = start(script(f"def model_fn(d): 0\ndef predict_fn(d, m): return open({str(gate)!r}).read()"), mortal=True)
    gateway, control = worker.ready().client(), worker.client()
    gateway.request(1, b"[1]", "application/json")
    control.describe_until(lambda d: d.in_flight)
    worker.cut_lifeline()
    assert control.description().state == "Draining"
    gate.write_text("done")

    assert gateway.receive().payload == b'"done"'
    assert worker.wait() == 0


def test_an_orphan_whose_model_hangs_ends_after_its_grace(start):
    text = "import threading\ndef model_fn(d): 0\ndef predict_fn(d, m): threading.Event().wait()"
    worker = start(script(text), mortal=True, orphan_grace_s=0.5).ready()
    control = worker.client()
    worker.client().request(1, b"[1]", "application/json")
    control.describe_until(lambda d: d.in_flight)
    worker.cut_lifeline()

    assert worker.wait() == 0


@pytest.mark.parametrize(
    "text", ["def model_fn(d): 1 / 0", "import threading\ndef model_fn(d): threading.Event().wait()"]
)
def test_a_worker_that_is_not_serving_ends_with_its_lifeline(start, text):
    worker = start(script(text), mortal=True)
    worker.until("Failed" if "/" in text else "Starting")
    worker.cut_lifeline()

    assert worker.wait() == 0


def test_sys_exit_in_a_handler_fails_its_request_and_not_the_worker(start):
    worker = start(
        script("import sys\ndef model_fn(d): 0\ndef predict_fn(d, m): return sys.exit(2) if d[0] else 0")
    ).ready()
    client = worker.client()

    failed = client.ask(b"[1]", "application/json")

    assert (failed.kind, failed.failure.status) == (Kind.FAILURE, 500)
    assert b"sys.exit(2)" in failed.payload
    assert client.ask(b"[0]", "application/json").payload == b"0"
    assert worker.client().describe().state == "Ready"


@pytest.mark.parametrize(
    ("body", "status"), [("import os; os._exit(7)", 7), ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV)]
)
def test_a_model_that_takes_the_process_down_shows_as_its_end(start, body, status):
    worker = start(script(f"def model_fn(d): 0\ndef predict_fn(d, m):\n    {body}\n")).ready()
    gateway, control = worker.client(), worker.client()
    control.describe()
    gateway.request(1, b"[1]", "application/json")

    assert control.is_closed()
    assert gateway.is_closed()
    assert worker.wait() == status
    if status < 0:
        assert "Segmentation fault" in worker.log()


def test_running_out_of_memory_in_a_request_is_507_and_the_worker_goes_on(start):
    limit = 2 * 2**30
    worker = start(
        script("def model_fn(d): 0\ndef predict_fn(d, m): return len(bytearray(d[0]))"), memory_limit_bytes=limit
    ).ready()
    client = worker.client()

    failed = client.ask(b"[%d]" % (4 * 2**30), "application/json")

    assert (failed.kind, failed.failure.status) == (Kind.FAILURE, 507)
    assert client.ask(b"[10]", "application/json").payload == b"10"


def test_the_models_environment_is_what_the_toolkits_set_and_the_model_declares(start):
    text = (
        "import os, json\ndef model_fn(d): return d\ndef transform_fn(m, d, c, a): return json.dumps(dict(os.environ))"
    )
    worker = start(
        script(text),
        environment={
            "MY": "own",
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
            "SAGEMAKER_PROGRAM": "inference.py",
        },
        region="eu-west-1",
        gpus=(2,),
    )
    seen = msgspec.json.decode(worker.ready().client().ask(b"").payload)

    assert seen["MY"] == "own"
    assert seen["SM_MODEL_DIR"] == worker.launch.model_dir
    assert seen["SAGEMAKER_SUBMIT_DIRECTORY"] == f"{worker.launch.model_dir}/code"
    assert seen["AWS_REGION"] == seen["SAGEMAKER_REGION"] == "eu-west-1"
    assert seen["CUDA_VISIBLE_DEVICES"] == "2"
    assert seen["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"  # else CUDA's number 2 may be another card than NVML's


def test_a_worker_is_a_process_of_its_own(start):
    text = """
        import json, os, signal, sys
        import numpy
        def model_fn(d):
            return {"sid": os.getsid(0), "pid": os.getpid(), "draw": int(numpy.random.randint(1 << 40)),
                    "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")), "cwd": os.getcwd(),
                    "title": open("/proc/self/cmdline").read(), "stdin": sys.stdin.read() if sys.stdin else ""}
        def predict_fn(data, model): return model
        """
    one, two = (start(script(text)).ready().client().ask(b"[1]").payload for _ in range(2))
    first, second = msgspec.json.decode(one), msgspec.json.decode(two)

    assert first["sid"] == first["pid"]
    assert first["title"].startswith("trimtab: worker payments/AllTraffic")
    assert first["cwd"] == "/"
    assert first["draw"] != second["draw"]
    assert len(first["fds"]) < 16


def test_layers_and_the_scripts_folder_come_first_on_the_path(start, tmp_path):
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "from_layer.py").write_text("name = 'layer'")
    files = script(
        "import helper, from_layer\ndef model_fn(d): return helper.name + from_layer.name\n"
        "def predict_fn(d, m): return m"
    )
    worker = start({**files, "code/helper.py": "name = 'code '"}, layers=(str(layer),)).ready()

    assert worker.client().ask(b"[1]").payload == b'"code layer"'
