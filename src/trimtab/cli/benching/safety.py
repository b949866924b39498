"""Before anything is sent: to whom, how much at most, and whether that is meant."""

from __future__ import annotations

import ipaddress
import sys

import typer

from trimtab.cli.render import CliError, say
from trimtab.jobs.loadtest.quantities import seconds_text
from trimtab.jobs.loadtest.sender import Address


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, by its name alone: nothing is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def announce(endpoint: str, address: Address, *, requests: int, seconds: float, yes: bool) -> None:
    """Say the bound, and ask unless the load stays on this machine. Raises CliError when it is not wanted."""
    at_most = f"at most {requests:,} requests in {seconds_text(seconds)}"
    say(f"{endpoint} at {address.host}:{address.port}: {at_most}")
    if is_loopback(address.host) or yes:
        return
    if not sys.stdin.isatty():
        raise CliError(
            f"{address.host} is not this machine, and there is nobody to ask whether it may be loaded.",
            "--yes says that it may.",
        )
    if not typer.confirm("That is not this machine, and the load may cost money. Go on?", err=True):
        raise CliError("Nothing was sent.")
