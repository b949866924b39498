"""Files that are written whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: str | bytes, *, mode: int = 0o666, sync: bool = True) -> None:
    """Write a file in one step: whoever looks, and whatever is killed, finds it whole, as it was before, or missing.

    What is no ordinary file (a pipe, /dev/stdout) is written as it is. `mode`: who may read the file, less the umask.
    Without `sync` that holds as long as the machine has power, and no disk is waited for. One call at a time for each
    file in a process. OSError where it cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    target = path.resolve()  # of a link, what it leads to is written
    if target.exists() and not target.is_file():
        path.write_bytes(content)
        return
    part = part_of(target, pid=os.getpid())
    part.unlink(missing_ok=True)  # of a process that was killed, or a link to somewhere else
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        part.replace(target)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(part)):  # a full disk names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def part_of(path: Path, *, pid: int | str) -> Path:
    """Where a process makes what is to replace `path`; what lies there was left by one that was killed. "*" for `pid`:
    a pattern for all of them."""
    return path.with_name(f".{path.name}.{pid}.part")


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
