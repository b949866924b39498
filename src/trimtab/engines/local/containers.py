"""The machine's container engine, where there is one: docker, or podman, by its command line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Mapping

from trimtab.engines.local.failures import StartFailed
from trimtab.logs import fields
from trimtab.resources.replica import Failure

logger = logging.getLogger(__name__)

PROBE_LIMIT_S = 5.0
REMOVE_LIMIT_S = 30.0
COMMANDS = ("docker", "podman")
CONTAINER_PORT = 8080
MODEL_DIR = "/opt/ml/model"
MODELS_DIR = "/opt/ml/models"


class Containers:
    """Finds a usable engine once; asks again only after it found none."""

    def __init__(self) -> None:
        """Nothing is looked for before the first image is to run."""
        self._command: str | None = None
        self._lock = asyncio.Lock()
        self._removals: set[asyncio.Task[None]] = set()

    async def command(self) -> str:
        """The engine's program. Raises StartFailed(RuntimeMissing) saying what is missing and what to do."""
        async with self._lock:
            if self._command is None:
                self._command = await self._probe()
            return self._command

    async def argv(
        self,
        image: str,
        name: str,
        port: int,
        model_dir: str,
        environment: Mapping[str, str],
        *,
        cpus: tuple[int, ...] = (),
        memory_bytes: int = 0,
        gpus: tuple[int, ...] = (),
        models_dir: str = "",
    ) -> list[str]:
        """The command that runs `image` as SageMaker does: `serve`, model at /opt/ml/model, port 8080.

        With `models_dir` it is a multi-model container, which finds models below /opt/ml/models.

        `environment` is expected in the command's own environment, so that its values show in no process list; only
        what means something to the command itself (PATH, DOCKER_HOST, ...) is spelled out.
        """
        argv = [await self.command(), "run", "--rm", "--name", name, "-p", f"127.0.0.1:{port}:{CONTAINER_PORT}"]
        argv += ["-v", f"{model_dir}:{MODEL_DIR}:ro"] if model_dir else []
        argv += ["-v", f"{models_dir}:{MODELS_DIR}:ro"] if models_dir else []
        argv += ["--cpuset-cpus", ",".join(map(str, cpus))] if cpus else []
        argv += ["--memory", str(memory_bytes)] if memory_bytes else []
        argv += ["--gpus", f'"device={",".join(map(str, gpus))}"'] if gpus else []
        for variable, value in environment.items():
            argv += ["-e", f"{variable}={value}" if variable in os.environ else variable]
        return [*argv, image, "serve"]

    async def pid(self, name: str) -> int | None:
        """The process id of a running container's first process; None when there is none, or nobody to ask."""
        try:
            command = await self.command()
        except StartFailed:
            return None
        status, output = await _run([command, "inspect", "--format", "{{.State.Pid}}", name], PROBE_LIMIT_S)
        return int(output) if status == 0 and output.isascii() and output.isdigit() and int(output) else None

    def remove(self, name: str) -> None:
        """Remove a container that may have outlived its command; goes on in the background."""
        task = asyncio.create_task(self._remove(name), name=f"remove container {name}")
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def close(self) -> None:
        """Wait for removals under way."""
        await asyncio.gather(*self._removals, return_exceptions=True)

    async def _remove(self, name: str) -> None:
        with contextlib.suppress(StartFailed):  # no engine any more: no container either
            status, output = await _run([await self.command(), "rm", "-f", name], REMOVE_LIMIT_S)
            logger.debug("container removed %s", fields(name=name, status=status, output=output))

    async def _probe(self) -> str:
        found = []
        for name in COMMANDS:
            path = shutil.which(name)
            if path is None:
                continue
            status, output = await _run([path, "version"], PROBE_LIMIT_S)
            if status == 0:
                logger.info("container engine %s", fields(command=path))
                return path
            found.append(f"{path} does not work: {output.splitlines()[-1] if output else 'no answer'}")
        what = "; ".join(found) or "neither docker nor podman is installed"
        raise StartFailed(
            Failure(
                reason="RuntimeMissing",
                message=f"The image needs a container engine, and this machine has none that works ({what}). Start or "
                "install docker or podman, or map the image to a runtime of trimtab in runtimes.toml.",
            )
        )


async def _run(argv: list[str], limit_s: float) -> tuple[int, str]:
    """Run a short command: its status (-1 when it took too long) and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(os.environ),
    )
    try:
        async with asyncio.timeout(limit_s):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, f"no answer within {limit_s:g} s"
    return process.returncode or 0, output.decode("utf-8", "replace").strip()
