"""Is this a machine on which trimtab runs well? Looks only; changes nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from trimtab.cli.data_dir_checks import check_data_dir
from trimtab.cli.findings import Finding, ok, problem, warning
from trimtab.cli.render import size

_MIN_FILES = 4096  # idle connections, worker sockets, logs
_MIN_SHARED_BYTES = 64 * 2**20
_MIN_MEMORY_BYTES = 512 * 2**20
_ENGINE_TIMEOUT_S = 5.0
_EARLIEST_S = 1_735_689_600  # 2025-01-01: no clock that is right shows less

# Library and the extra that brings it.
_RUNTIMES = (
    ("onnxruntime", ""),
    ("sklearn", "sklearn"),
    ("xgboost", "xgboost"),
    ("lightgbm", "lightgbm"),
    ("torch", "torch"),
    ("transformers", "huggingface"),
)


def check_machine(data_dir: Path, port: int) -> list[Finding]:
    """Every check, in the order in which a person would ask. A check that itself fails is reported, not raised."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _open_files,
        _shared_memory,
        _memory,
        lambda: check_data_dir(data_dir, port),
        _runtimes,
        _container_engine,
        _gpus,
        _clock,
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings.extend(check())
        except OSError as error:
            findings.append(warning("check", f"could not be made: {error}"))
    return findings


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    if sys.platform != "linux":
        yield problem("system", f"{platform.system()} is not supported", "Run trimtab on Linux.")
    yield ok("python", f"{version} ({sys.executable})")


def _open_files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= _MIN_FILES or soft == resource.RLIM_INFINITY:
        yield ok("open files", f"up to {soft}")
    elif hard >= _MIN_FILES or hard == resource.RLIM_INFINITY:
        yield warning("open files", f"only {soft} at a time", f"ulimit -n {_MIN_FILES} before `trimtab serve`")
    else:
        yield warning(
            "open files", f"only {soft}, and the limit is {hard}", "Raise `nofile` in /etc/security/limits.conf."
        )


def _shared_memory() -> Iterator[Finding]:
    path = Path("/dev/shm")
    if not path.is_dir() or not os.access(path, os.W_OK):
        yield warning("/dev/shm", "is not there or cannot be written", "Mount a tmpfs at /dev/shm (libraries use it).")
        return
    free = shutil.disk_usage(path).free
    if free < _MIN_SHARED_BYTES:
        yield warning("/dev/shm", f"has only {size(free)} left", "In a container: --shm-size=1g.")
    else:
        yield ok("/dev/shm", f"{size(free)} free")


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    cores = os.cpu_count() or 1
    text = f"{size(memory.available)} of {size(memory.total)} available, {cores} cores"
    if memory.available < _MIN_MEMORY_BYTES:
        yield warning("memory", text, "End something: a replica holds its model in memory.")
    else:
        yield ok("memory", text)


def _runtimes() -> Iterator[Finding]:
    present = [name for name, _ in _RUNTIMES if importlib.util.find_spec(name) is not None]
    yield ok("runtimes", f"installed: {', '.join(present) or 'none'}")
    for name, extra in _RUNTIMES:
        if name not in present:
            cure = f"pip install 'trimtab[{extra}]'" if extra else f"pip install {name}"
            if extra:
                yield ok("runtimes", f"{name} is not installed: models that need it will not load", cure)
            else:
                yield problem("runtimes", f"{name} is not installed, though trimtab requires it", cure)


def _container_engine() -> Iterator[Finding]:
    for name in ("docker", "podman"):
        program = shutil.which(name)
        if program is None:
            continue
        try:
            asked = subprocess.run(
                [program, "info", "--format", "{{.Host.OS}}" if name == "podman" else "{{.ServerVersion}}"],
                capture_output=True,
                text=True,
                timeout=_ENGINE_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            yield warning(
                "containers", f"{name} does not answer within {_ENGINE_TIMEOUT_S:.0f} s", "Restart its daemon."
            )
            return
        if asked.returncode == 0:
            yield ok("containers", f"{name} runs images that trimtab has no runtime for")
        else:
            said = (asked.stderr or asked.stdout).strip().splitlines()
            yield warning(
                "containers", f"{name} is there and does not work: {said[-1] if said else 'no reason'}", f"{name} info"
            )
        return
    yield ok("containers", "no container engine: AWS's framework images map to trimtab's own runtimes")


def _gpus() -> Iterator[Finding]:
    try:
        import pynvml
    except ImportError:
        yield warning("gpus", "nvidia-ml-py is not installed, though trimtab requires it", "pip install nvidia-ml-py")
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        yield ok("gpus", "none (no NVIDIA driver)")
        return
    except pynvml.NVMLError as error:
        yield warning("gpus", f"the NVIDIA driver does not answer: {error}", "nvidia-smi")
        return
    try:
        count = pynvml.nvmlDeviceGetCount()
        if not count:
            yield ok("gpus", "none")
        for index in range(count):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = pynvml.nvmlDeviceGetName(handle)
            yield ok("gpus", f"{index}: {name}, {size(int(memory.free))} of {size(int(memory.total))} free")
    except pynvml.NVMLError as error:
        yield warning("gpus", f"the NVIDIA driver answers with an error: {error}", "nvidia-smi")
    finally:
        pynvml.nvmlShutdown()


def _clock() -> Iterator[Finding]:
    now_s = time.time()
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < _EARLIEST_S:
        yield problem("clock", f"shows {text}: signatures of other machines will be refused", "Set the clock (NTP).")
    else:
        yield ok("clock", text)
