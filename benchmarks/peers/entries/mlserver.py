"""MLServer: a custom runtime in the server's own process, which is its faster way for small models."""

from __future__ import annotations

import json

from benchmarks.peers.models import MAX_BATCH, MAX_DELAY_MS
from benchmarks.peers.peer import HOST, Job, Peer, Service, free_port, program_env, tensor, tensors


def _service(job: Job) -> Service:
    settings = {
        "host": HOST,
        "http_port": job.port,
        "grpc_port": free_port(),
        "metrics_endpoint": None,
        "parallel_workers": 0,
        "debug": False,
    }
    model: dict[str, object] = {"name": "model", "implementation": "mlserver_model.Model"}
    if job.model.batched:
        model |= {"max_batch_size": MAX_BATCH, "max_batch_time": MAX_DELAY_MS / 1000}
    (job.folder / "settings.json").write_text(json.dumps(settings))
    (job.folder / "model-settings.json").write_text(json.dumps(model))
    argv = [str(job.python.with_name("mlserver")), "start", str(job.folder)]
    return Service(argv, "/v2/models/model/infer", program_env(job), encode=tensors, decode=tensor)


MLSERVER = Peer(
    name="mlserver",
    package="mlserver",
    environment="mlserver",
    configured="parallel_workers 0 (model in the server's process), V2 JSON, metrics and debug off; batching: 32, 3 ms",
    does={"metering": "yes (off here)", "isolation": "parallel_workers", "batching": "fixed window"},
    service=_service,
)
