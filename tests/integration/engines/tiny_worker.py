"""A worker that speaks frames and does as the replica's environment says: for faults that a real one does not have.

TINY: ready (default) | fail | exit | deaf (hangs in a request, hears no order) | mute (never looks at its socket)
    | stubborn (drains for ever) | stuck (stays Starting)
"""

import contextlib
import os
import selectors
import socket
import sys
import time

import msgspec

from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.wire.frames import HEADER, HEADER_SIZE, AnswerMeta, Kind, WorkerDescription, pack


class TinyWorker:
    def __init__(self, launch: WorkerLaunch) -> None:
        self.launch = launch
        self.spec = msgspec.msgpack.decode(launch.spec, type=ReplicaSpec)
        self.mode = self.spec.environment.get("TINY", "ready")
        self.state = "Starting"
        self.busy_since_s = 0.0
        self.selector = selectors.DefaultSelector()
        self.buffers: dict[socket.socket, bytearray] = {}

    def run(self) -> None:
        born_s = time.monotonic()
        log = os.open(self.launch.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        print("tiny worker", self.mode, flush=True)
        if self.mode == "exit":
            print("boom: the model left", flush=True)
            sys.exit(3)
        if self.mode == "mute":
            self.selector.select()
        self.fork_s = born_s - self.launch.ordered_monotonic_s
        self.state = {"fail": "Failed", "stuck": "Starting"}.get(self.mode, "Ready")
        if self.mode == "deaf":
            self.busy_since_s = time.monotonic()
        listener = socket.socket(fileno=self.launch.listener_fd)
        self.selector.register(listener, selectors.EVENT_READ)
        if self.launch.lifeline_fd >= 0:
            self.selector.register(self.launch.lifeline_fd, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    self.buffers[connection] = bytearray()
                    self.selector.register(connection, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    self.receive(key.fileobj)
                else:
                    sys.exit(0)

    def receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            data = b""
        buffer = self.buffers[connection]
        buffer += data
        if not data:
            self.selector.unregister(connection)
            connection.close()
            return
        while len(buffer) >= HEADER_SIZE:
            size, stream, meta, kind, _ = HEADER.unpack_from(buffer)
            body = bytes(buffer[HEADER_SIZE + meta : HEADER_SIZE + meta + size])
            del buffer[: HEADER_SIZE + meta + size]
            self.handle(connection, kind, stream, body)

    def handle(self, connection: socket.socket, kind: int, stream: int, body: bytes) -> None:
        if kind == Kind.REQUEST:
            meta = msgspec.msgpack.encode(AnswerMeta(content_type="text/plain"))
            connection.sendall(pack(Kind.ANSWER, stream, meta, b"%d:" % os.getpid() + body))
        if kind in (Kind.DRAIN, Kind.STOP) and self.mode != "deaf":
            if kind == Kind.STOP or self.mode != "stubborn":
                sys.exit(0)
            self.state = "Draining"
        if kind in (Kind.DESCRIBE, Kind.DRAIN):
            with contextlib.suppress(OSError):  # control was killed meanwhile
                connection.sendall(pack(Kind.DESCRIPTION, 0, b"", msgspec.msgpack.encode(self.describe())))

    def describe(self) -> WorkerDescription:
        failed = self.state == "Failed"
        return WorkerDescription(
            replica_id=self.spec.id,
            index=self.launch.index,
            pid=os.getpid(),
            state=self.state,
            spec=self.launch.spec,
            busy_since_monotonic_s=self.busy_since_s,
            fork_s=self.fork_s,
            load_s=0.0,
            failure_reason="ModelLoadFailed" if failed else "",
            failure_message="model_fn raised" if failed else "",
            failure_tail="Traceback: it broke" if failed else "",
        )


def run(launch: WorkerLaunch) -> None:
    TinyWorker(launch).run()
