"""KServe's Python server, without the Kubernetes around it."""

from __future__ import annotations

from benchmarks.peers.peer import PROGRAMS, Job, Peer, Service, field_of, program_env, under


def _service(job: Job) -> Service:
    argv = [str(job.python), str(PROGRAMS / "kserve_server.py")]
    path = "/v1/models/model:predict"
    return Service(argv, path, program_env(job), encode=under("instances"), decode=field_of("predictions"))


KSERVE = Peer(
    name="kserve",
    package="kserve",
    environment="kserve",
    configured="V1 protocol, async predict, 1 uvicorn process, no gRPC, no latency log",
    does={"metering": "of the server"},
    service=_service,
    models=("echo", "fraud", "mlp"),
)
