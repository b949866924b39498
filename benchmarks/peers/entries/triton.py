"""NVIDIA Triton: the server binary that comes in the nvidia-pytriton wheel, with its Python backend."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.peers.models import MAX_BATCH, MAX_DELAY_MS
from benchmarks.peers.peer import HOST, PROGRAMS, Job, Peer, Service, program_env, tensor, tensors

CONFIG = """
name: "model"
backend: "python"
max_batch_size: {max_batch}
input [{{ name: "rows" data_type: TYPE_FP32 dims: [{width}] }}]
output [{{ name: "answers" data_type: TYPE_FP32 dims: [{outputs}] }}]
instance_group [{{ count: 1 kind: KIND_CPU }}]
{batching}
"""
WHERE = "import sys, sysconfig; print(sysconfig.get_path('purelib'), sysconfig.get_config_var('LIBDIR'), '%d.%d' % sys.version_info[:2])"


def _service(job: Job) -> Service:
    found = subprocess.run([job.python, "-c", WHERE], capture_output=True, text=True, check=True).stdout.split()
    packages, libraries, version = Path(found[0]), found[1], found[2]
    home = packages / "pytriton" / "tritonserver"
    _repository(job)
    backends = _backends(home, version, job.folder / "backends")
    argv = [str(home / "bin" / "tritonserver"), "--model-repository", str(job.folder / "models")]
    argv += ["--backend-directory", str(backends), "--http-address", HOST, "--http-port", str(job.port)]
    argv += ["--allow-grpc=false", "--allow-metrics=false", "--http-thread-count=2", "--log-info=false"]
    argv += [
        "--backend-config=python,shm-default-byte-size=1048576",
        f"--backend-config=python,shm-region-prefix-name=b{job.port}",
    ]
    env = {
        **program_env(job),
        "PYTHONPATH": str(packages),
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{libraries}",
    }
    return Service(argv, "/v2/models/model/infer", env, encode=tensors, decode=tensor)


def _repository(job: Job) -> None:
    folder = job.folder / "models" / "model"
    (folder / "1").mkdir(parents=True)
    shutil.copy(PROGRAMS / "triton_model.py", folder / "1" / "model.py")
    shutil.copy(PROGRAMS / "scoring.py", folder / "1")  # the backend has a search path of its own
    window = f"dynamic_batching {{ max_queue_delay_microseconds: {MAX_DELAY_MS * 1000} }}" if job.model.batched else ""
    config = CONFIG.format(
        max_batch=MAX_BATCH if job.model.batched else 1,
        width=job.model.width,
        outputs=job.model.outputs,
        batching=window,
    )
    (folder / "config.pbtxt").write_text(config)


def _backends(home: Path, version: str, folder: Path) -> Path:
    """The Python backend beside the stub for this version of Python: the wheel keeps them apart."""
    shutil.copytree(home / "backends", folder)
    shutil.copy(home / "python_backend_stubs" / version / "triton_python_backend_stub", folder / "python")
    return folder


TRITON = Peer(
    name="triton",
    package="nvidia-pytriton",
    environment="triton",
    configured="tritonserver of the wheel, Python backend, 1 CPU instance, 2 HTTP threads, V2 JSON, no gRPC, no metrics; "
    "batching: 32, 3 ms",
    does={
        "metering": "yes (off here)",
        "isolation": "yes",
        "updates": "by its repository",
        "limits": "max_queue_size",
        "batching": "fixed window",
    },
    service=_service,
    start_and_stop_s=4,
)
