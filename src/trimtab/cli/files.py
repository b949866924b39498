"""Files that verbs write for people: refused before the work, where they cannot be written."""

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
