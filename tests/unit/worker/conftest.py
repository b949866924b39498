"""Workers as real processes, and a client that speaks frames to them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from worker_frames import BOUND_S, Frame

from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Flavor, Runtime
from trimtab.wire.frames import (
    HEADER,
    HEADER_SIZE,
    Kind,
    RequestMeta,
    WorkerDescription,
    pack,
)


class Client:
    """A blocking connection. Everything it waits for is bounded by BOUND_S."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(BOUND_S)
        self.sock.connect(path)

    def send(self, kind: Kind, stream: int = 0, meta: object = None, payload: bytes = b"") -> None:
        self.sock.sendall(pack(kind, stream, b"" if meta is None else msgspec.msgpack.encode(meta), payload))

    def request(self, stream: int, payload: bytes = b"", content_type: str = "", **meta: Any) -> None:
        self.send(Kind.REQUEST, stream, RequestMeta(content_type, **meta), payload)

    def ask(self, payload: bytes = b"", content_type: str = "", **meta: Any) -> Frame:
        self.request(1, payload, content_type, **meta)
        return self.receive()

    def receive(self) -> Frame:
        size, stream, meta_size, kind, _ = HEADER.unpack(self._exactly(HEADER_SIZE))
        return Frame(Kind(kind), stream, self._exactly(meta_size), self._exactly(size))

    def describe(self) -> WorkerDescription:
        self.send(Kind.DESCRIBE)
        return self.description()

    def description(self) -> WorkerDescription:
        frame = self.receive()
        assert frame.kind is Kind.DESCRIPTION
        return msgspec.msgpack.decode(frame.payload, type=WorkerDescription)

    def describe_until(self, fits: Callable[[WorkerDescription], object]) -> WorkerDescription:
        """Ask until the description fits."""
        deadline_s = time.monotonic() + BOUND_S
        while not fits(description := self.describe()):
            assert time.monotonic() < deadline_s, description
        return description

    def is_closed(self) -> bool:
        """Wait for the other end to close."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.sock.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise EOFError("the worker closed the connection")
            data += piece
        return bytes(data)


class Nursery:
    """The fork server, its workers, and their end."""

    def __init__(self) -> None:
        self.lifeline_r, self.lifeline_w = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery_for_tests.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(self.lifeline_r,),
        )
        assert self._answer() == "ready"

    def launch(self, launch: WorkerLaunch, file: Path) -> int:
        file.write_bytes(msgspec.msgpack.encode(launch))
        return int(self._order(f"launch {file}").removeprefix("pid "))

    def wait(self, pid: int) -> int:
        return int(self._order(f"wait {pid}").removeprefix("exit "))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(BOUND_S)
        self._process.stdout.close()
        os.close(self.lifeline_r)
        if self.lifeline_w >= 0:
            os.close(self.lifeline_w)

    def _order(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Worker:
    """One worker under test."""

    def __init__(self, nursery: Nursery, launch: WorkerLaunch, folder: Path, mortal: bool = False) -> None:
        self.launch = launch
        self.path = launch.socket_path
        self.log_path = Path(launch.log_path)
        self._nursery = nursery
        self._mortal = mortal
        self._clients: list[Client] = []
        self._status: int | None = None
        self.pid = nursery.launch(launch, folder / "launch")

    def client(self) -> Client:
        client = Client(self._listening())
        self._clients.append(client)
        return client

    def until(self, *states: str) -> WorkerDescription:
        """Wait, by the worker's own pushes, until it is in one of `states`."""
        client = self.client()
        description = client.describe()
        while description.state not in states:
            description = client.description()
        client.close()
        return description

    def ready(self) -> Worker:
        description = self.until("Ready", "Failed")
        assert description.state == "Ready", (description.failure_message, description.failure_tail)
        return self

    def wait(self) -> int:
        if self._status is None:
            self._status = self._nursery.wait(self.pid)
        return self._status

    def cut_lifeline(self) -> None:
        assert self._mortal, "its nursery is shared"
        os.close(self._nursery.lifeline_w)
        self._nursery.lifeline_w = -1

    def log(self) -> str:
        return self.log_path.read_text()

    def end(self) -> None:
        for client in self._clients:
            client.close()
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        if self._mortal:
            self._nursery.close()

    def _listening(self) -> str:
        deadline_s = time.monotonic() + BOUND_S
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(self.path)
                return self.path
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < deadline_s, "the worker does not listen"
                time.sleep(0.001)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


Start = Callable[..., Worker]


@pytest.fixture
def start(nursery: Nursery, tmp_path: Path) -> Iterator[Start]:
    """`start({"code/inference.py": "..."}, flavor=..., environment=..., **launch)` -> Worker.

    With `mortal` it has a nursery, and so a lifeline, of its own.
    """
    workers: list[Worker] = []

    def start(
        files: dict[str, str | bytes] | None = None,
        *,
        flavor: Flavor = Flavor.PLAIN,
        environment: dict[str, str] | None = None,
        mortal: bool = False,
        **launch: Any,
    ) -> Worker:
        folder = tmp_path / f"w{len(workers)}"
        model_dir = folder / "model"
        model_dir.mkdir(parents=True)
        for name, content in (files or {}).items():
            path = model_dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        parent = Nursery() if mortal else nursery
        spec = ReplicaSpec(
            id=f"r{len(workers)}",
            endpoint="payments",
            variant="AllTraffic",
            version="v1",
            model_name="m",
            runtime=Runtime(flavor=flavor),
            environment=environment or {},
        )
        order: dict[str, Any] = {
            "spec": msgspec.msgpack.encode(spec),
            "socket_path": str(folder / "s"),
            "model_dir": str(model_dir),
            "log_path": str(folder / "log"),
            "lifeline_fd": parent.lifeline_r,
            "ordered_monotonic_s": time.monotonic(),
        }
        worker = Worker(parent, WorkerLaunch(**{**order, **launch}), folder, mortal)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.end()
