"""Before anything is sent: to whom, how much at most, and whether that is meant."""

from __future__ import annotations

import ipaddress
import sys

import typer

from trimtab.cli.render import CliError, say
from trimtab.jobs.loadtest.sender import Address


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, by its name alone: nothing is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def announce(endpoint: str, address: Address, bound: str, *, yes: bool) -> None:
    """Say how much is sent (`1,200 requests in 31 s`), and ask unless that stays on this machine.

    Raises CliError when it is not wanted.
    """
    say(f"{endpoint} at {address.host}:{address.port}: {bound}")
    if is_loopback(address.host) or yes:
        return
    if not sys.stdin.isatty():
        raise CliError(
            f"{address.host} is not this machine, and there is nobody to ask whether it may be loaded.",
            "--yes says that it may.",
        )
    if not typer.confirm("That is not this machine, and the load may cost money. Go on?", err=True):
        raise CliError("Nothing was sent.")
