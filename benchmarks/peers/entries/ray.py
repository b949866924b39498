"""Ray Serve behind HAProxy, which is its fast mode: the Python proxy that it has by default is about 13 times slower."""

from __future__ import annotations

from benchmarks.peers.peer import PROGRAMS, Job, Peer, Service, program_env


def _service(job: Job) -> Service:
    env = {
        **program_env(job),
        "BENCH_FOLDER": str(job.folder),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    return Service([str(job.python), str(PROGRAMS / "ray_server.py")], "/", env)


RAY = Peer(
    name="ray-serve",
    package="ray",
    environment="ray",
    configured="HAProxy mode, throughput optimized, 1 replica, max_ongoing_requests 256, no access log, no dashboard",
    does={
        "metering": "yes",
        "isolation": "yes",
        "updates": "yes",
        "limits": "max_queued_requests",
        "batching": "fixed window",
    },
    service=_service,
    start_timeout_s=90,
    start_and_stop_s=11,
)
