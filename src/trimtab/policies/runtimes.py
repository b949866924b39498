"""From the name of an image to the runtime that serves it: a table of patterns, which users extend in TOML.

The table format is described at the top of `runtimes.toml`, which is the packaged table.
"""

from __future__ import annotations

import pkgutil
import shlex
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec
from msgspec import Struct, field

from trimtab.errors import Invalid
from trimtab.resources.runtime import Flavor, Runtime, RuntimeKind

COMMAND_VARIABLE = "TRIMTAB_COMMAND"
_UNKNOWN = "unknown"


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row: images that fit any pattern of `match` are served so."""

    match: tuple[str, ...]
    kind: str = RuntimeKind.PYTHON.value
    flavor: Flavor = Flavor.PLAIN
    imports: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    hint: str = ""


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rows in the order in which they are tried."""

    runtime: tuple[Entry, ...] = field(default_factory=tuple)

    def before(self, other: Table) -> Table:
        """This table's rows first, then `other`'s."""
        return Table(runtime=self.runtime + other.runtime)


def parse(text: str, source: str = "the runtime table") -> Table:
    """Read a TOML table. Raises Invalid naming `source` and the offending entry."""
    try:
        table = msgspec.convert(tomllib.loads(text), Table)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Invalid(
            f"{source} cannot be read: {error}. Its format is described in trimtab's runtimes.toml."
        ) from error
    for entry in table.runtime:
        _check(entry, source)
    return table


def packaged() -> Table:
    """The table that comes with trimtab: a part of the program, read as an import is."""
    data = pkgutil.get_data(__name__, "runtimes.toml")
    assert data is not None, "runtimes.toml is part of the package"
    return parse(data.decode(), "trimtab's own runtimes.toml")


def resolve(
    image: str,
    environment: Mapping[str, str],
    table: Table,
    *,
    container_engine: bool = False,
    more: str = "runtimes.toml",
) -> Runtime:
    """Return the runtime of `image`, for a container with `environment`.

    An image that no row fits is run by the machine's container engine where there is one. Otherwise, and for images
    known not to work, raises Invalid, which lists what is known and says how to extend the table (in the file `more`).
    """
    if not image:
        raise Invalid("The container names no image. Use trimtab://python to serve a model with trimtab's own worker.")
    for entry in table.runtime:
        if any(_fits(image, pattern) for pattern in entry.match):
            return _runtime(image, entry, environment, container_engine=container_engine)
    if container_engine and "://" not in image:
        return Runtime(kind=RuntimeKind.CONTAINER, image=image)
    known = ", ".join(pattern for entry in table.runtime if entry.kind != _UNKNOWN for pattern in entry.match)
    engine = "" if container_engine else ", and this machine has no container engine to run it"
    raise Invalid(
        f"No runtime is known for the image {image!r}{engine}. Known: {known}. To add one, put a [[runtime]] entry "
        f"with `match` and `kind` into {more}; trimtab://command runs any program that keeps the SageMaker container "
        "contract."
    )


def _fits(image: str, pattern: str) -> bool:
    if ":" in pattern.rpartition("/")[2]:
        return fnmatchcase(image, pattern)
    return fnmatchcase(_without_version(image), pattern)


def _without_version(image: str) -> str:
    """`host:5000/name:tag@sha256:...` -> `host:5000/name`. A bare `name` is compared as `/name`, to fit `*/name`."""
    path, slash, last = image.partition("@")[0].rpartition("/")
    return f"{path}{slash or '/'}{last.partition(':')[0]}"


def _runtime(image: str, entry: Entry, environment: Mapping[str, str], *, container_engine: bool) -> Runtime:
    if entry.kind == _UNKNOWN:
        raise Invalid(f"The image {image!r} cannot be served: {entry.hint}.")
    kind = RuntimeKind(entry.kind)
    if kind is RuntimeKind.CONTAINER and not container_engine:
        raise Invalid(f"The image {image!r} is to run as a container, but this machine has no container engine.")
    command = entry.command
    if kind is RuntimeKind.COMMAND and not command:
        command = _command(environment)
    return Runtime(kind=kind, flavor=entry.flavor, image=image, imports=entry.imports, command=command)


def _command(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The argv in TRIMTAB_COMMAND, split as a shell would, without running one."""
    line = environment.get(COMMAND_VARIABLE, "")
    try:
        command = tuple(shlex.split(line))
    except ValueError as error:
        raise Invalid(f"{COMMAND_VARIABLE} cannot be split into words ({error}): {line!r}.") from error
    if not command:
        raise Invalid(
            f"trimtab://command needs the program to run in the environment variable {COMMAND_VARIABLE}, for example "
            "`python serve.py --port {port} --model {model_dir}`."
        )
    return command


def _check(entry: Entry, source: str) -> None:
    kinds = [*(kind.value for kind in RuntimeKind), _UNKNOWN]
    if entry.kind not in kinds:
        raise Invalid(f"{source}: kind {entry.kind!r} of {list(entry.match)} is not one of {', '.join(kinds)}.")
    if not entry.match or not all(entry.match):
        raise Invalid(f"{source}: an entry of kind {entry.kind!r} has no pattern in `match`.")
    if entry.command and entry.kind != RuntimeKind.COMMAND.value:
        raise Invalid(f"{source}: {list(entry.match)} has a `command`, but its kind is {entry.kind!r}, not 'command'.")
