"""Mosec: a Rust front (hyper, axum) and Python workers behind a Unix socket."""

from __future__ import annotations

from benchmarks.peers.peer import HOST, PROGRAMS, Job, Peer, Service, program_env


def _service(job: Job) -> Service:
    argv = [str(job.python), str(PROGRAMS / "mosec_server.py"), "--address", HOST, "--port", str(job.port)]
    return Service([*argv, "--log-level", "warning", "--path", str(job.folder / "s")], "/inference", program_env(job))


MOSEC = Peer(
    name="mosec",
    package="mosec",
    environment="mosec",
    configured="one worker process, JSON by default, log level warning; batching: max_batch_size 32, max_wait_time 3 ms",
    does={"metering": "of the server", "isolation": "yes", "limits": "yes", "batching": "fixed window"},
    service=_service,
)
