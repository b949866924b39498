"""A fork server for tests: imports once, then forks a worker for each launch file named on standard input.

`launch PATH` answers `pid N`; `wait N` answers `exit STATUS` (negative: the signal) when that worker has ended.
"""

from __future__ import annotations

import os
import sys
import warnings

import msgspec
import numpy  # noqa: F401 imported before the fork, as a nursery does
import onnxruntime  # noqa: F401

from trimtab.resources.launch import WorkerLaunch
from trimtab.worker.main import run


def main() -> None:
    warnings.simplefilter("error")
    print("ready", flush=True)
    for line in sys.stdin:
        order, _, argument = line.strip().partition(" ")
        if order == "launch":
            with open(argument, "rb") as file:
                launch = msgspec.msgpack.decode(file.read(), type=WorkerLaunch)
            pid = os.fork()
            if pid == 0:
                run(launch)
            print(f"pid {pid}", flush=True)
        else:
            _, status = os.waitpid(int(argument), 0)
            print(f"exit {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
