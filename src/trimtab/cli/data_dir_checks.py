"""Can trimtab serve from this data directory, and on this port?"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from trimtab.cli.env import running_server
from trimtab.cli.findings import Finding, ok, problem, warning
from trimtab.cli.render import CliError, size
from trimtab.config import Paths
from trimtab.datadir import MIN_FREE_BYTES
from trimtab.errors import TrimtabError

_COMFORTABLE_BYTES = 2 * 2**30


def check_data_dir(data_dir: Path, port: int) -> Iterator[Finding]:
    """Directory, format, lock, keys, table of runtimes, sockets, disk, port."""
    paths = Paths(data_dir.absolute())
    yield from _directory(paths)
    yield from _disk(paths)
    yield from _sockets(paths)
    yield from _port(port, _lock_holder(paths), paths)


def _directory(paths: Paths) -> Iterator[Finding]:
    folder = paths.data_dir
    if not folder.exists():
        parent = next(above for above in folder.parents if above.exists())
        if os.access(parent, os.W_OK):
            yield ok("data dir", f"{folder} will be made at the first `trimtab serve`")
        else:
            yield problem(
                "data dir", f"{folder} cannot be made: {parent} cannot be written", "Choose another --data-dir."
            )
        return
    if not folder.is_dir():
        yield problem("data dir", f"{folder} is a file", "Choose another --data-dir.")
        return
    status = folder.stat()
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield problem("data dir", f"{folder} cannot be read and written", f"chown {os.getuid()} {folder}")
        return
    if stat.S_IMODE(status.st_mode) & 0o077:
        yield warning("data dir", f"{folder} is open to other users", f"chmod 700 {folder}")
    yield from _format(paths)
    yield from _contents(paths)


def _format(paths: Paths) -> Iterator[Finding]:
    try:
        found = paths.version.read_text().strip()
    except FileNotFoundError:
        strangers = sorted(path.name for path in paths.data_dir.iterdir() if path.name != paths.lock.name)
        if strangers:
            yield problem(
                "data dir",
                f"{paths.data_dir} holds {strangers[0]!r} and is no data directory of trimtab",
                "Choose an empty or new folder with --data-dir.",
            )
        else:
            yield ok("data dir", f"{paths.data_dir} is empty")
        return
    if found == str(Paths.FORMAT):
        yield ok("data dir", f"{paths.data_dir}, format {found}")
    else:
        yield problem(
            "data dir",
            f"{paths.data_dir} has format {found}; this trimtab reads format {Paths.FORMAT}",
            "Run the trimtab version that wrote it, or choose another --data-dir.",
        )


def _contents(paths: Paths) -> Iterator[Finding]:
    """The two files in it that people edit or move about."""
    from trimtab.aws import keys
    from trimtab.policies import runtimes

    if paths.keys.exists():
        try:
            yield ok("keys", f"{len(keys.load(paths.keys))} access keys")
        except TrimtabError as error:
            yield problem("keys", str(error))
    if paths.runtimes.exists():
        try:
            table = runtimes.parse(paths.runtimes.read_text(), str(paths.runtimes))
            yield ok("runtime table", f"{len(table.runtime)} entries of your own in {paths.runtimes}")
        except (TrimtabError, UnicodeDecodeError) as error:
            yield problem("runtime table", str(error), f"Correct {paths.runtimes}.")


def _disk(paths: Paths) -> Iterator[Finding]:
    folder = next(path for path in (paths.data_dir, *paths.data_dir.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        yield problem(
            "disk", f"{size(free)} left at {folder}", "Free some space, or choose a --data-dir on another disk."
        )
    elif free < _COMFORTABLE_BYTES:
        yield warning("disk", f"only {size(free)} left at {folder}", "Artifacts and their caches go there.")
    else:
        yield ok("disk", f"{size(free)} free at {folder}")


def _sockets(paths: Paths) -> Iterator[Finding]:
    if paths.run_dir.exists():
        status = paths.run_dir.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            yield problem(
                "sockets", f"{paths.run_dir} belongs to somebody else", f"rm -r {paths.run_dir}, as its owner"
            )
            return
    yield ok("sockets", str(paths.run_dir))


def _lock_holder(paths: Paths) -> bool:
    """Whether a trimtab holds the data directory now."""
    try:
        handle = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno == errno.EWOULDBLOCK
    finally:
        os.close(handle)
    return False


def _port(port: int, running: bool, paths: Paths) -> Iterator[Finding]:
    if running:
        try:
            yield ok("trimtab", f"serves from this data directory at {running_server(paths.data_dir).url}")
        except CliError as error:
            yield warning("trimtab", f"holds the data directory, and does not say where it is: {error}")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            yield problem(
                "port",
                f"{port} is taken{_by_whom(port)}",
                "End that program, or choose another: trimtab serve --port N.",
            )
            return
    yield ok("port", f"{port} is free")


def _by_whom(port: int) -> str:
    """` by NAME (process N)` where the system lets us see it."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            local = tuple(connection.laddr)
            if connection.status == psutil.CONN_LISTEN and port in local[1:] and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return ""
    return ""
