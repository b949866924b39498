"""Which trimtab a verb talks to, and with which key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trimtab.cli.render import CliError
from trimtab.config import Paths, default_data_dir

if TYPE_CHECKING:
    from trimtab.aws.client import Client, Server

_UNSIGNED = "unsigned"  # what a client signs with where the server does not look (`--auth none`)


def connect(data_dir: Path | None, *, read_timeout_s: float = 70.0) -> Client:
    """A client of the trimtab that is meant: `--data-dir`, else AWS_ENDPOINT_URL, else the default data directory.

    Raises CliError when no trimtab runs on the data directory.
    """
    from trimtab.aws.client import Client

    url = os.environ.get("AWS_ENDPOINT_URL", "")
    if data_dir is None and url:
        return Client(_of_environment(url), read_timeout_s=read_timeout_s)
    return Client(_of_data_dir(data_dir or default_data_dir()), read_timeout_s=read_timeout_s)


def _of_data_dir(data_dir: Path) -> Server:
    from trimtab.aws.client import Server
    from trimtab.cli.env import running_server

    running = running_server(data_dir)
    key, secret = _root_key(Paths(data_dir).keys)
    return Server(url=running.url, region=running.region, access_key=key, secret_key=secret)


def _of_environment(url: str) -> Server:
    """With the environment's credentials; where it has none, and `url` is the default data directory's, its keys."""
    from trimtab.aws.client import Server

    if not _is_url(url):
        raise CliError(
            f"AWS_ENDPOINT_URL is {url!r}, which is no address such as http://127.0.0.1:7070.",
            'Run `eval "$(trimtab env)"`, or name a --data-dir.',
        )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    if not (os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE")):
        try:
            mine = _of_data_dir(default_data_dir())
        except CliError:
            pass  # none runs there: botocore looks for credentials in its other places
        else:
            if mine.url.rstrip("/") == url.rstrip("/"):
                return mine
    return Server(url=url, region=region)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _root_key(path: Path) -> tuple[str, str]:
    from trimtab.aws import keys
    from trimtab.errors import NotFound

    try:
        root = keys.root_of(keys.load(path), path)
    except NotFound:
        return _UNSIGNED, _UNSIGNED
    return root.id, root.secret
