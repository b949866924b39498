"""Where a foreign program finds the files of its models: `FOLDER/NAME/model`, as AWS lays out /opt/ml/models.

A program gets links to the unpacked artifacts. A container sees this folder alone, so it gets the files themselves, as
hard links: neither copied nor taken away when the cache drops the artifact.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


class ModelFolder:
    """Of one replica. All calls do I/O."""

    def __init__(self, folder: Path, *, inside: str = "") -> None:
        """`inside` is where a container sees `folder`; "" = it is no container."""
        self.path = folder
        self._inside = inside

    def open(self) -> None:
        """Make it, empty."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True, mode=0o755 if self._inside else 0o700)

    def put(self, name: str, files: str) -> str:
        """Show the artifact unpacked at `files`; the folder that the program is to read. Raises OSError."""
        shown = self.path / name / "model"
        self.remove(name)
        shown.parent.mkdir()
        if self._inside:
            shutil.copytree(files, shown, copy_function=_linked)
            return f"{self._inside}/{name}/model"
        shown.symlink_to(files, target_is_directory=True)
        return str(shown)

    def remove(self, name: str) -> None:
        """It is not read any more. Unknown: no effect."""
        shutil.rmtree(self.path / name, ignore_errors=True)

    def close(self) -> None:
        """Remove all."""
        shutil.rmtree(self.path, ignore_errors=True)


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        shutil.copy2(source, target)
    return target
