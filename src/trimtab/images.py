"""Images to runtimes, by trimtab's table and the user's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from trimtab.policies import runtimes
from trimtab.policies.runtimes import Table
from trimtab.resources.runtime import Runtime


def read_runtimes(own: Path) -> Table:
    """trimtab's table of images, the user's own rows (in the file `own`, if it is there) first. Invalid."""
    table = runtimes.packaged()
    return runtimes.parse(own.read_text(), str(own)).before(table) if own.exists() else table


def runtime_resolver(own: Path) -> Callable[[str, Mapping[str, str]], Runtime]:
    """Resolves images by a table that is read anew each time: an addition counts at once."""

    def resolve(image: str, environment: Mapping[str, str]) -> Runtime:
        engine = any(shutil.which(name) for name in ("docker", "podman"))
        return runtimes.resolve(image, environment, read_runtimes(own), container_engine=engine, more=str(own))

    return resolve
