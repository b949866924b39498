"""LitServe: one worker process behind one API server process."""

from __future__ import annotations

from benchmarks.peers.peer import PROGRAMS, Job, Peer, Service, field_of, program_env, under


def _service(job: Job) -> Service:
    argv = [str(job.python), str(PROGRAMS / "litserve_server.py")]
    return Service(argv, "/predict", program_env(job), encode=under("rows"), decode=field_of("answers"))


LITSERVE = Peer(
    name="litserve",
    package="litserve",
    environment="litserve",
    configured="1 worker, 1 API server, fast_queue, no access log; batching: max_batch_size 32, batch_timeout 3 ms",
    does={"isolation": "restart_workers", "batching": "fixed window"},
    service=_service,
)
