"""`trimtab cost`: what endpoints have cost, and what for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import AsJson, DataDir
from trimtab.cli.render import CliError, emit_json

if TYPE_CHECKING:
    from trimtab.aws.client import Client

_READ_TIMEOUT_S = 15.0  # gateways hold a call for 5 s while control is away
_BY = "endpoint,variant"


def cost(
    name: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Only this endpoint.", show_default=False)] = "",
    since: Annotated[str, typer.Option(help="Since: 7d, 1h (ago), 2026-03-01T12:00, 12:00.")] = "7d",
    until: Annotated[str, typer.Option(help="Until.", show_default="now")] = "",
    by: Annotated[
        str, typer.Option(help="A row for each: of endpoint, variant, version, model, instance-type, hour, day.")
    ] = _BY,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show dollars by what they were spent for, per 1,000 requests, and per 1,000,000 tokens where models tell tokens.

    Whole hours are told. The parts of a row sum to it, and the rows to the total, in micro-dollars (--json). Prices are
    those of `trimtab prices`.
    """
    from trimtab.cli.connect import connect
    from trimtab.cli.costing.page import show
    from trimtab.cli.times import moment

    now_s = time.time()
    since_s = moment(since, "--since", now_s)
    if since_s > now_s:
        raise CliError(f"--since {since} lies in the future.")
    asked = {"since": f"{since_s:.0f}", "by": by}
    if until:
        until_s = moment(until, "--until", now_s)
        if until_s <= since_s:
            raise CliError("--since must be before --until.")
        asked["until"] = f"{until_s:.0f}"
    if name:
        asked["endpoint"] = name
    client = connect(data_dir, read_timeout_s=_READ_TIMEOUT_S)
    document = client.get("costs", **asked)
    if name and not document["rows"]:
        _must_be_there(client, name)
    if as_json:
        emit_json(document)
    else:
        show(document, endpoint=name)


def _must_be_there(client: Client, name: str) -> None:
    """CliError for an endpoint that is not there, and of which nothing was found: its name is perhaps misspelt."""
    from trimtab.aws.client import CallFailed

    try:
        client.call("sagemaker", "describe_endpoint", EndpointName=name)
    except CallFailed as error:
        if "Could not find endpoint" not in str(error):
            raise
        raise CliError(
            f"There is no endpoint {name!r}, and nothing was spent on one of that name in that time.",
            "`trimtab cost` without a name tells of all, deleted ones included.",
        ) from None
