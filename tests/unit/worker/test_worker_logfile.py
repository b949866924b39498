"""The replica's log: whole lines, bounded, and never in a request's way."""

from __future__ import annotations

import re
import textwrap
import time

from trimtab.aws.logs.lines import Lines
from trimtab.aws.logs.view import LogView
from trimtab.wire.frames import Kind
from trimtab.wire.log_times import read_times


def files(text: str) -> dict[str, str]:
    return {"code/inference.py": textwrap.dedent(text)}


def test_prints_of_python_of_c_code_and_of_child_processes_are_all_kept(start):
    worker = start(
        files(
            """
            import ctypes, os, subprocess, sys
            def model_fn(d): print("from print"); print("to stderr", file=sys.stderr); return d
            def predict_fn(data, model):
                libc = ctypes.CDLL(None)
                libc.puts(b"from C"); libc.fflush(None)
                subprocess.run(["echo", "from a child"])
                sys.stdout.buffer.write(b"raw bytes\\n")
                print("no newline", end="", flush=True)
                return 1
            """
        )
    ).ready()
    worker.client().ask(b"[1]", "application/json")

    for said in ("from print", "to stderr", "from C", "from a child", "raw bytes", "no newline"):
        assert said in worker.log()


def test_printing_megabytes_neither_blocks_nor_fills_the_disk(start):
    worker = start(
        files(
            """
            def model_fn(d): return d
            def predict_fn(data, model):
                for number in range(40_000):
                    print(number, "x" * 1000)
                print("y" * 3_000_000)
                return "done"
            """
        ),
        log_max_bytes=1_000_000,
    ).ready()

    assert worker.client().ask(b"[1]", "application/json").payload == b'"done"'
    parts = [worker.log_path, worker.log_path.with_name("log.1")]
    assert sum(part.stat().st_size for part in parts) <= 1_000_000


def test_what_c_code_floods_is_cut_down_too(start):
    worker = start(
        files(
            """
            import os
            def model_fn(d): return d
            def predict_fn(data, model): return os.write(2, b"z" * 2_000_000)
            """
        ),
        log_max_bytes=1_000_000,
    ).ready()
    client, control = worker.client(), worker.client()
    client.ask(b"[1]", "application/json")
    client.ask(b"[1]", "application/json")

    previous = worker.log_path.with_name("log.1")
    control.describe_until(lambda _: previous.exists() and worker.log_path.stat().st_size <= 500_000)  # within a second
    assert previous.stat().st_size == 500_000
    assert previous.read_bytes().endswith(b"z" * 1000)


def test_times_are_kept_beside_the_lines_over_rotations(start):
    worker = start(
        files(
            """
            import ctypes
            def model_fn(d): return d
            def predict_fn(data, model):
                if data[0]:
                    ctypes.CDLL(None).write(2, b"from C\\n", 7)
                else:
                    for number in range(2000):
                        print(number, "x" * 500)
                return 1
            """
        ),
        log_max_bytes=1_000_000,
    ).ready()
    client, control = worker.client(), worker.client()
    began_ms = time.time() * 1000
    client.ask(b"[0]", "application/json")
    printed_ms = time.time() * 1000
    client.ask(b"[1]", "application/json")
    control.describe_until(lambda _: is_marked_to_its_end(worker))  # once a tick has seen what C code wrote

    with LogView(worker.log_path) as view:
        found = list(Lines(view, 0, 2**63, 2**63).forward(view.first))
    numbers = [int(event.message.split()[0]) for event in found if event.message.endswith("x" * 500)]
    assert numbers == list(range(numbers[0], 2000))
    assert all(began_ms - 5 <= event.time_ms <= printed_ms + 5 for event in found if event.message.endswith("x" * 500))
    assert found[-1].message == "from C"
    assert (
        found[-1].time_ms >= printed_ms - 20
    )  # the burst's mark may hold; the kernel's file times are a few ms behind


def is_marked_to_its_end(worker) -> bool:
    with LogView(worker.log_path) as view:
        times = read_times(worker.log_path)
        return times is not None and times.positions[-1] == view.end


def test_lines_of_threads_are_never_cut_into_each_other(start):
    worker = start(
        files(
            """
            import threading
            def model_fn(d): return d
            def predict_fn(data, model):
                def talk(name):
                    for number in range(300):
                        print(name, number, name, sep="-")
                threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
                [t.start() for t in threads]; [t.join() for t in threads]
                return 1
            """
        )
    ).ready()
    worker.client().ask(b"[1]", "application/json")

    lines = [line for line in worker.log().splitlines() if "-" in line and "trimtab" not in line]
    assert len(lines) == 1200
    assert all(re.fullmatch(r"(\w)-\d+-\1", line) for line in lines)


def test_an_unfinished_line_is_written_when_the_worker_ends_and_streams_can_be_reconfigured(start):
    worker = start(
        files(
            """
            import sys
            sys.stdout.reconfigure(line_buffering=True)
            def model_fn(d): return d
            def predict_fn(data, model): print("progress 50 %", end=""); return 1
            """
        )
    ).ready()
    worker.client().ask(b"[1]", "application/json")
    worker.client().send(Kind.STOP)

    assert worker.wait() == 0
    assert worker.log().endswith("progress 50 %")


def test_a_full_disk_loses_log_lines_and_no_request(start):
    worker = start(
        files(
            """
            import resource
            def model_fn(d): return d
            def predict_fn(data, model):
                ceiling = 0 if data[0] else resource.RLIM_INFINITY  # as a full disk, and as a disk with room again
                resource.setrlimit(resource.RLIMIT_FSIZE, (ceiling, resource.RLIM_INFINITY))
                print("seen" if not data[0] else "lost")
                return "answered"
            """
        )
    ).ready()
    client, control = worker.client(), worker.client()

    assert client.ask(b"[1]", "application/json").payload == b'"answered"'
    assert client.ask(b"[0]", "application/json").payload == b'"answered"'
    control.describe_until(lambda _: "5 bytes of log were lost" in worker.log())
    assert "seen" in worker.log()
