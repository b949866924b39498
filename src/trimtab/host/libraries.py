"""Which installed packages a model has brought into its process, so that the nursery can import them before forking.

An image such as `trimtab://python` serves models of every kind, and nobody says which libraries they need: a pickle
may hold anything. What a process has mapped tells. From then on births share those packages' pages, and need not wait
for their imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

MOST: Final = 100  # packages of one process


def packages_mapped(maps: str, site: Path, is_package: Callable[[Path], bool] | None = None) -> tuple[str, ...]:
    """The packages below `site` whose extension modules or libraries `maps` (/proc/PID/maps) names; at most MOST.

    Of `sklearn/tree/_tree.so` that is `sklearn.tree`; of `lightgbm/lib/lib_lightgbm.so`, where `lib` is no package,
    `lightgbm`. The kernel maps downwards: what was loaded last comes first, and has most often brought in the rest.
    `is_package` says whether a folder is one.
    """
    found: dict[str, None] = {}
    for path in _files_below(maps, site):
        if (name := _package_of(path, site, is_package or _has_init)) is not None:
            found[name] = None
    return tuple(found)[:MOST]


def _files_below(maps: str, site: Path) -> Iterator[PurePosixPath]:
    """Shared objects, relative to `site`."""
    prefix = f"{site}/"
    for line in maps.splitlines():
        _, below, rest = line.partition(prefix)
        path = PurePosixPath(rest)
        if below and ".so" in path.name:
            yield path


def _package_of(path: PurePosixPath, site: Path, is_package: Callable[[Path], bool]) -> str | None:
    parts: list[str] = []
    for part in path.parts[:-1]:
        if not part.isidentifier() or not is_package(site.joinpath(*parts, part)):
            break
        parts.append(part)
    return ".".join(parts) or None


def _has_init(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()
