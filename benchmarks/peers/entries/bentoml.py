"""BentoML: a service with one worker."""

from __future__ import annotations

from benchmarks.peers.peer import HOST, PROGRAMS, Job, Peer, Service, program_env, under


def _service(job: Job) -> Service:
    argv = [str(job.python), "-m", "bentoml", "serve", "bentoml_service:Model", "--working-dir", str(PROGRAMS)]
    env = {**program_env(job), "BENTOML_HOME": str(job.folder), "BENTOML_DO_NOT_TRACK": "True"}
    return Service([*argv, "--host", HOST, "--port", str(job.port)], "/predict", env, encode=under("rows"))


BENTOML = Peer(
    name="bentoml",
    package="bentoml",
    environment="bentoml",
    configured="async api, 1 worker, access log and metrics off; batching: its adaptive batcher, at most 32",
    does={"metering": "yes (off here)", "isolation": "yes", "limits": "max_concurrency", "batching": "adaptive"},
    service=_service,
)
