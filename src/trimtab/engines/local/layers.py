"""`code/requirements.txt`, installed once per content into a folder that goes to the front of sys.path."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import logging
import os
import platform
import re
import shutil
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from msgspec import Struct

from trimtab.engines.local import processes
from trimtab.errors import TrimtabError
from trimtab.logs import fields

logger = logging.getLogger(__name__)

_LITTER_AGE_S = 3600.0
_LOG = "install.log"


class Layer(Struct, frozen=True, kw_only=True):
    """Installed requirements. `replaces` names distributions that trimtab's own environment has in another version."""

    path: Path
    replaces: tuple[str, ...] = ()


class RequirementsFailed(TrimtabError):
    """The installer said no. `tail` holds its last lines."""

    reason = "RequirementsFailed"

    def __init__(self, message: str, tail: str) -> None:
        super().__init__(message)
        self.tail = tail


class Layers:
    """The folder of layers, `root/HASH`."""

    def __init__(self, root: Path, installer: Sequence[str] | None = None) -> None:
        """`installer` is argv up to where `--target DIR -r FILE` goes; found on this machine when None."""
        self._root = root
        self._installer = installer
        self._under_way: dict[str, asyncio.Task[Layer]] = {}

    async def ensure(self, requirements: Path, *, timeout_s: float) -> Layer:
        """The layer for a requirements file; installs it when nobody has. Callers for one content share one install.

        Raises RequirementsFailed with the installer's last lines.
        """
        key = await asyncio.to_thread(digest, requirements)
        final = self._root / key
        if await asyncio.to_thread(final.is_dir):
            return await asyncio.to_thread(_layer, final)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._install(requirements, final, timeout_s), name=f"layer {key[:12]}")
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End installs that are under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def sweep(self) -> None:
        """Remove what installs that were killed left behind. Does I/O."""
        for litter in self._root.glob("*.tmp*"):
            if time.time() - litter.stat().st_mtime > _LITTER_AGE_S:
                shutil.rmtree(litter, ignore_errors=True)

    def _done(self, key: str, task: asyncio.Task[Layer]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # also when every caller has gone: it was logged where it happened

    async def _install(self, requirements: Path, final: Path, timeout_s: float) -> Layer:
        self._root.mkdir(parents=True, exist_ok=True)
        building = self._root / f"{final.name}.tmp{os.getpid()}-{time.monotonic_ns()}"
        building.mkdir()
        log = building / _LOG
        started_s = time.monotonic()
        try:
            argv = [*(self._installer or _find_installer()), "--target", str(building), "-r", str(requirements)]
            status = await _run(argv, cwd=requirements.parent, log=log, timeout_s=timeout_s)
            if status != 0:
                how = f"took longer than {timeout_s:g} s" if status is None else f"exited with status {status}"
                logger.warning("requirements failed %s", fields(file=requirements, how=how))
                raise RequirementsFailed(
                    f"Installing code/requirements.txt {how}. Check its names and versions, and that this machine can "
                    "reach the package index (PIP_INDEX_URL, proxies); or pack the packages into the artifact.",
                    processes.tail(log),
                )
            await asyncio.to_thread(_publish, building, final)
            logger.info("requirements installed %s", fields(layer=final, seconds=time.monotonic() - started_s))
            return await asyncio.to_thread(_layer, final)
        finally:
            await asyncio.to_thread(shutil.rmtree, building, True)


def digest(requirements: Path) -> str:
    """Names a layer by everything that it depends on: contents (of files referred to as well), Python, platform."""
    state = hashlib.sha256()
    for part in (
        sys.implementation.cache_tag,
        sysconfig.get_platform(),
        platform.libc_ver()[1],
        os.path.realpath(sys.prefix),
    ):
        state.update(f"{part}\0".encode())
    for file in _with_referred(requirements, requirements.parent, set()):
        state.update(hashlib.sha256(file.read_bytes()).digest())
    return state.hexdigest()


def _with_referred(file: Path, folder: Path, seen: set[Path]) -> Iterator[Path]:
    """A requirements file, and the local files that it names: other lists (-r, -c), wheels beside it."""
    if file in seen:
        return
    seen.add(file)
    yield file
    if file.suffix not in (".txt", ".in", ".cfg"):
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        for word in re.split(r"[\s=@]+", line.split("#", 1)[0].strip()):
            path = (folder / word.removeprefix("file://")).resolve() if word else folder
            if path.is_file():
                yield from _with_referred(path, folder, seen)


def _find_installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise RequirementsFailed(
            f"code/requirements.txt cannot be installed: there is neither pip nor uv for {sys.executable}. "
            "Install one of them (`python -m ensurepip`).",
            "",
        )
    return [uv, "pip", "install", "--python", sys.executable]


async def _run(argv: Sequence[str], *, cwd: Path, log: Path, timeout_s: float) -> int | None:
    """Run an installer in a process group of its own. Its exit status; None when it ran out of time."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        async with asyncio.timeout(timeout_s):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _publish(building: Path, final: Path) -> None:
    try:
        building.rename(final)
    except OSError:
        if not final.is_dir():  # else another trimtab was quicker: the same content
            raise


def _layer(path: Path) -> Layer:
    replaced = []
    for distribution in metadata.distributions(path=[str(path)]):
        try:
            own = metadata.version(distribution.name)
        except metadata.PackageNotFoundError:
            continue
        if own != distribution.version:
            replaced.append(f"{distribution.name} {distribution.version} (trimtab has {own})")
    return Layer(path=path, replaces=tuple(sorted(replaced)))
