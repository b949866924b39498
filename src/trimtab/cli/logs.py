"""`trimtab logs`: what an endpoint's replicas wrote to stdout and stderr."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import emit, say


def logs(
    name: EndpointName,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines come, new replicas included.")] = False,
    replica: Annotated[str, typer.Option(help="Only this replica.", show_default=False)] = "",
    variant: Annotated[str, typer.Option(help="Only this variant.", show_default=False)] = "",
    tail: Annotated[
        int | None, typer.Option(min=0, help="Only the last lines of each replica.", show_default="all, or 10 with -f")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show the log lines of an endpoint's replicas; those of replicas that are gone are kept. --json: a line each."""
    from trimtab.cli.connect import connect

    if tail is None and follow:
        tail = 10
    query = {
        **({"follow": "true"} if follow else {}),
        **({"replica": replica} if replica else {}),
        **({"variant": variant} if variant else {}),
        **({"tail": str(tail)} if tail is not None else {}),
    }
    found = False
    for entry in connect(data_dir).lines(f"endpoints/{name}/logs", **query):
        found = True
        if as_json:
            emit(json.dumps(entry))
        else:
            emit(entry["line"] if replica else f"{entry['variant']}/{entry['replica']}  {entry['line']}")
    if not found and not follow:
        say(f"No log lines of {name}{f' / {replica}' if replica else ''} yet.")
