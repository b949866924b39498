"""FastAPI on uvicorn, and uvicorn with nothing on it: the yardstick."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.peers.peer import HOST, PROGRAMS, Job, Peer, Service, program_env


def _service(app: str) -> Callable[[Job], Service]:
    def service(job: Job) -> Service:
        argv = [
            str(job.python),
            "-m",
            "uvicorn",
            app,
            "--app-dir",
            str(PROGRAMS),
            "--host",
            HOST,
            "--port",
            str(job.port),
        ]
        options = ["--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"]
        return Service([*argv, *options], "/predict", program_env(job))

    return service


FASTAPI = Peer(
    name="fastapi",
    package="fastapi",
    environment="fastapi",
    configured="uvicorn 0.54 (uvloop, httptools), async def, JSONResponse, the model inside the event loop, no access log",
    does={"limits": "--limit-concurrency"},
    service=_service("fastapi_app:app"),
    models=("echo", "fraud", "mlp"),
)
UVICORN = Peer(
    name="uvicorn",
    package="uvicorn",
    environment="uvicorn",
    configured="a bare ASGI application (uvloop, httptools), the model inside the event loop: no routes, no checks",
    does={"limits": "--limit-concurrency"},
    service=_service("asgi_app:app"),
    models=("echo", "fraud", "mlp"),
    yardstick=True,
)
