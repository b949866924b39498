"""Files that are written whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: str | bytes, *, mode: int = 0o666) -> None:
    """Write a file in one step: whoever looks, and whatever is killed, finds it whole, as it was before, or missing.

    What is no ordinary file (a pipe, /dev/stdout) is written as it is. `mode`: who may read the file, less the umask.
    OSError where it cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    target = path.resolve()  # of a link, what it leads to is written
    if target.exists() and not target.is_file():
        path.write_bytes(content)
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
