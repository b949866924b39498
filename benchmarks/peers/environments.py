"""An environment of its own for every peer, under `.venvs/peers`, from exact pins with hashes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Peer

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements"
ENVIRONMENTS = ROOT / ".venvs" / "peers"


class CannotHave(Exception):
    """This peer cannot be had here; the message says why and what would help."""


def python_of(peer: Peer) -> Path:
    """The interpreter that runs `peer`."""
    return ENVIRONMENTS / peer.environment / "bin" / "python" if peer.environment else Path(sys.executable)


def set_up(peer: Peer) -> str:
    """Make the environment of `peer` if it is not there as its pins want it. Says what was done ("" for nothing).

    Raises CannotHave where a program is missing or a package cannot be installed.
    """
    for program in peer.needs:
        if shutil.which(program) is None:
            raise CannotHave(
                f"needs {program}, which is not installed (`apt-get install default-jre-headless` for java)"
            )
    if not peer.environment:
        return ""
    folder = ENVIRONMENTS / peer.environment
    pins = REQUIREMENTS / f"{peer.environment}.txt"
    wanted = hashlib.sha256(pins.read_bytes() + repr(peer.extra).encode()).hexdigest()
    mark = folder / ".ready"
    if mark.exists() and mark.read_text() == wanted:
        return ""
    began_s = time.monotonic()
    _install(peer, folder, pins)
    mark.write_text(wanted)
    return f"made in {time.monotonic() - began_s:.0f} s, {_size_mib(folder):,.0f} MiB"


def version_of(peer: Peer) -> str:
    """The version of the peer's package, as installed."""
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    done = subprocess.run([python_of(peer), "-c", code, peer.package], capture_output=True, text=True)
    return done.stdout.strip() or "?"


def _install(peer: Peer, folder: Path, pins: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        raise CannotHave("uv is not in this environment: start it by `make bench`, which makes one")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    _run([uv, "venv", "--quiet", "--python", sys.executable, folder])
    _run([uv, "pip", "install", "--quiet", "--require-hashes", "--python", python, "-r", pins])
    for requirement in peer.extra:  # by plain pip, which takes a CPU build of PyTorch where one is offered
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        _run([*pip, requirement])


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise CannotHave(f"cannot be installed: {' / '.join(last)}")


def _size_mib(folder: Path) -> float:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_symlink()) / 2**20
