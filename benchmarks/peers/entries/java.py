"""TorchServe, and Multi Model Server, which AWS's containers hold: Java in front, Python workers behind."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers.models import MAX_BATCH, MAX_DELAY_MS
from benchmarks.peers.peer import HOST, PROGRAMS, Job, NotReady, Peer, Service, free_port, program_env

WARM_UP_S = 3  # Java compiles what is used often
QUIET = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders><Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%d [%-5p] %c - %m%n"/></Console></Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


def _decode(body: bytes) -> list[float]:
    found: list[list[float]] = json.loads(body)
    return found[0]


def _files(job: Job) -> tuple[Path, Path, dict[str, str]]:
    """An empty model store, a configuration of the logs, and an environment in which nothing is written elsewhere."""
    store, logs = job.folder / "store", job.folder / "log4j2.xml"
    store.mkdir()
    logs.write_text(QUIET)
    places = dict.fromkeys(("TMPDIR", "TEMP", "LOG_LOCATION", "METRICS_LOCATION"), str(job.folder))
    return store, logs, {**program_env(job), **places, "BENCH_PROGRAMS": str(PROGRAMS)}


def _archive(path: Path, manifest: Mapping[str, object], member: str) -> None:
    """A .mar: a zip of the handler and a manifest."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, json.dumps(manifest))
        archive.write(PROGRAMS / "torchserve_handler.py", "torchserve_handler.py")


def _torchserve(job: Job) -> Service:
    store, logs, env = _files(job)
    model = {"modelName": "model", "modelVersion": "1.0", "handler": "torchserve_handler.py:handle"}
    manifest = {"runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    _archive(store / "model.mar", manifest, "MAR-INF/MANIFEST.json")
    batch = (MAX_BATCH, MAX_DELAY_MS) if job.model.batched else (1, 1)
    served = {"defaultVersion": True, "marName": "model.mar", "minWorkers": 1, "maxWorkers": 1}
    served |= {"batchSize": batch[0], "maxBatchDelay": batch[1], "responseTimeout": 60}
    config = job.folder / "config.properties"
    config.write_text(
        f"inference_address=http://{HOST}:{job.port}\nmanagement_address=http://{HOST}:{free_port()}\n"
        f"metrics_address=http://{HOST}:{free_port()}\ngrpc_inference_port={free_port()}\ngrpc_management_port={free_port()}\n"
        f"metrics_mode=log\ndisable_system_metrics=true\nmodel_store={store}\nload_models=model.mar\n"
        f"models={json.dumps({'model': {'1.0': served}})}\n"
    )
    argv = [str(job.python.with_name("torchserve")), "--start", "--foreground", "--ncs", "--disable-token-auth"]
    argv += ["--model-store", str(store), "--ts-config", str(config), "--log-config", str(logs)]
    return Service(argv, "/predictions/model", env, decode=_decode)


def _mms(job: Job) -> Service:
    store, logs, env = _files(job)
    model = {"modelName": "model", "handler": "torchserve_handler:handle"}
    manifest = {"specificationVersion": "1.0", "implementationVersion": "1.0", "runtime": "python", "model": model}
    _archive(store / "model.mar", manifest, "MAR-INF/MANIFEST.json")
    management = free_port()
    config = job.folder / "config.properties"
    config.write_text(f"inference_address=http://{HOST}:{job.port}\nmanagement_address=http://{HOST}:{management}\n")
    batch = f"&batch_size={MAX_BATCH}&max_batch_delay={MAX_DELAY_MS}" if job.model.batched else ""

    def register() -> None:
        question = f"http://{HOST}:{management}/models?url=model.mar&initial_workers=1&synchronous=true{batch}"
        try:
            urllib.request.urlopen(urllib.request.Request(question, method="POST"), timeout=60).read()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"Multi Model Server refused the model: {error.read().decode()}") from error
        except OSError as error:
            raise NotReady from error

    argv = [str(job.python.with_name("multi-model-server")), "--start", "--foreground", "--mms-config", str(config)]
    argv += ["--model-store", str(store), "--log-config", str(logs)]
    return Service(argv, "/predictions/model", env, decode=_decode, set_up=register)


TORCHSERVE = Peer(
    name="torchserve",
    package="torchserve",
    environment="torchserve",
    configured="a handler function, 1 worker, logs at WARN, metrics to the log, token auth off; batching: 32, 3 ms",
    does={
        "auth": "one token (off here)",
        "metering": "yes",
        "isolation": "yes",
        "updates": "versions, by hand",
        "limits": "job_queue_size",
        "batching": "fixed window",
    },
    service=_torchserve,
    needs=("java",),
    warm_up_s=WARM_UP_S,
    extra=("torch==2.13.0",),
    start_and_stop_s=5,
)
MMS = Peer(
    name="mms",
    package="multi-model-server",
    environment="mms",
    configured="a handler function, 1 worker, logs at WARN; batching: 32, 3 ms",
    does={"metering": "yes", "isolation": "yes", "limits": "job_queue_size", "batching": "fixed window"},
    service=_mms,
    needs=("java",),
    warm_up_s=WARM_UP_S,
)
