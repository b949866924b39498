"""`trimtab env`: the environment in which AWS programs talk to the trimtab of a data directory."""

from __future__ import annotations

import json
import os
import shlex
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer
from msgspec import Struct

from trimtab.cli.render import CliError
from trimtab.config import Paths, default_data_dir
from trimtab.errors import NotFound

# Left over from another account, these would make trimtab's keys invalid or the endpoint ignored.
_IN_THE_WAY = ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
_UNSIGNED = "unsigned"  # clients sign with something even where nobody looks (`--auth none` on a new data directory)
_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


class Server(Struct, frozen=True):
    """The trimtab that runs on a data directory, as `trimtab serve` wrote it there."""

    url: str
    region: str
    pid: int


class Exports(Struct, frozen=True):
    """Variables to set, and variables that must go."""

    set: dict[str, str]
    unset: tuple[str, ...]

    def applied_to(self, environ: Mapping[str, str]) -> dict[str, str]:
        """`environ` with these changes."""
        kept = {name: value for name, value in environ.items() if name not in self.unset}
        return kept | self.set


def env(
    data_dir: Annotated[
        Path | None, typer.Option(help="The running trimtab's data directory.", show_default="~/.local/share/trimtab")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of shell lines.")] = False,
) -> None:
    """Print the lines that point AWS programs at trimtab: eval "$(trimtab env)"."""
    exports = exports_for(data_dir or default_data_dir(), os.environ)
    if as_json:
        print(json.dumps(exports.set, indent=2))
        return
    for name in exports.unset:
        print(f"unset {name}")
    for name, value in exports.set.items():
        print(f"export {name}={shlex.quote(value)}")


def running_server(data_dir: Path) -> Server:
    """The trimtab that runs on `data_dir`. Raises CliError, with the cure, when there is none."""
    hint = f"Start it with `trimtab serve --data-dir {shlex.quote(str(data_dir))}`, or name another with --data-dir."
    path = Paths(data_dir).server
    try:
        server = msgspec.json.decode(path.read_bytes(), type=Server)
    except FileNotFoundError:
        raise CliError(f"No trimtab runs on {data_dir}.", hint) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise CliError(f"{path} cannot be read: {error}.", hint) from None
    if not _alive(server.pid):
        raise CliError(f"The trimtab that ran on {data_dir} (process {server.pid}) is gone.", hint)
    return server


def exports_for(data_dir: Path, environ: Mapping[str, str]) -> Exports:
    """What to change in `environ`. Raises CliError when no trimtab runs there, Invalid for an unusable key file."""
    server = running_server(data_dir)
    key_id, secret = _credentials(Paths(data_dir).keys)
    found = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": server.region,
    }
    if environ.get("AWS_REGION", server.region) != server.region:
        found["AWS_REGION"] = server.region  # the AWS CLI and other languages' SDKs read this one first
    if any(environ.get(name) for name in _PROXIES):
        found |= _past_proxies(urlsplit(server.url).hostname or "", environ)
    return Exports(found, tuple(name for name in _IN_THE_WAY if environ.get(name)))


def _credentials(path: Path) -> tuple[str, str]:
    from trimtab.aws import keys

    try:
        root = keys.root_of(keys.load(path), path)
    except NotFound:
        return _UNSIGNED, _UNSIGNED
    return root.id, root.secret


def no_proxy_of(environ: Mapping[str, str]) -> str:
    """The user's NO_PROXY; the lower-case spelling counts first, as in Python and curl."""
    return environ.get("no_proxy") or environ.get("NO_PROXY") or ""


def bypasses(host: str, no_proxy: str) -> bool:
    """Whether NO_PROXY's list covers `host` (or `host:port`), by the rules of Python's own clients."""
    return bool(urllib.request.proxy_bypass_environment(host, {"no": no_proxy}))  # type: ignore[attr-defined]


def _past_proxies(host: str, environ: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY with trimtab's own host in it: a proxy elsewhere cannot reach this machine's loopback."""
    present = no_proxy_of(environ)
    if bypasses(host, present):
        return {}
    value = f"{present},{host}" if present else host
    return {"NO_PROXY": value, "no_proxy": value}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
