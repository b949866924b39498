"""Files that verbs write for people: refused before the work, where they cannot be written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from trimtab.cli.render import CliError


def must_be_apart(written: Mapping[str, Path | None], *, read: Path) -> None:
    """CliError where two of the files that are `written` (by option) are one, or one is the file that is `read`."""
    known = {read.resolve(): "the file that is read"}
    for option, path in written.items():
        if path is None:
            continue
        if path.is_file() or not path.exists():  # into a pipe or /dev/null, all may go
            if other := known.get(path.resolve()):
                raise CliError(f"{option} {path} would overwrite {other}: name another file.")
            known[path.resolve()] = f"what {option} writes"


def must_be_writable(path: Path) -> None:
    """CliError where `path` could not be written: before minutes are spent on what is to stand in it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise CliError(f"The folder of {path} is not there.", f"mkdir -p {folder}")
    if path.is_dir():
        raise CliError(f"{path} is a folder: name a file in it.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise CliError(f"{path} may not be written by this user.")
