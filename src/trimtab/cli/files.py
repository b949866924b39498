"""Files that verbs write for people: refused before the work, where they cannot be written; whole, or not there."""

from __future__ import annotations

import os
from pathlib import Path

from trimtab.cli.render import CliError


def must_be_writable(path: Path) -> None:
    """CliError where `path` could not be written: before minutes are spent on what is to stand in it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise CliError(f"The folder of {path} is not there.", f"mkdir -p {folder}")
    if path.is_dir():
        raise CliError(f"{path} is a folder: name a file in it.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise CliError(f"{path} may not be written by this user.")


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file in one step: whoever looks, and whatever is killed, finds it whole, as it was before, or missing.

    What is no ordinary file (a pipe, /dev/stdout) is written as it is. OSError where it cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    target = path.resolve()  # of a link, what it leads to is written
    if target.exists() and not target.is_file():
        path.write_bytes(content)
        return
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
