"""`trimtab explain`: why an endpoint has as many replicas as it has, decision by decision."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import CliError, emit, emit_json

if TYPE_CHECKING:
    from trimtab.aws.client import Client
    from trimtab.cli.explaining.story import Told

_FOLLOW_S = 1.0
_AGAIN_S = 10.0  # how far back a follower looks for what was still being written


def explain(
    name: EndpointName,
    variant: Annotated[str, typer.Option(help="Only this variant.", show_default=False)] = "",
    last: Annotated[str, typer.Option(help="How far back: 15m, 1h, 7d.", show_default="1h")] = "",
    start: Annotated[str, typer.Option("--from", help="From: 2026-03-01T12:00, 12:00, 2h.", show_default=False)] = "",
    end: Annotated[str, typer.Option("--to", help="Until.", show_default="now")] = "",
    made: Annotated[bool, typer.Option("--made", help="Only decisions that changed something.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is decided from now on.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show every scaling decision with inputs, arithmetic and reason, what became of it, and each start's budget."""
    from trimtab.cli.connect import connect
    from trimtab.cli.explaining.page import local_time, show
    from trimtab.cli.times import span

    start_s, end_s = span(last, start, end, time.time())
    if follow and (end or as_json):
        raise CliError("--follow takes no --to and no --json.")
    client = connect(data_dir)
    about = _about(client, name, variant)
    told = [one for one in _story(client, name, variant, about, start_s, end_s) if one.made or not made]
    if as_json:
        import msgspec

        emit_json({**about, "decisions": msgspec.to_builtins(told)})
        return
    show(told, about, shutil.get_terminal_size((160, 50)).columns)
    if not told:
        emit(f"No decisions from {local_time(start_s)} to {local_time(end_s)}." + _hint(about))
    if follow:
        _follow(client, name, variant, about, made=made, seen_s=max((one.at_s for one in told), default=start_s))


def _about(client: Client, name: str, variant: str) -> dict[str, Any]:
    query = {"variant": variant} if variant else {}
    return client.get(f"endpoints/{name}/scaling/activities", **query, limit="1000")


def _hint(about: dict[str, Any]) -> str:
    if about["targets"]:
        return ""
    return " Nothing scales this endpoint: RegisterScalableTarget and PutScalingPolicy do (docs/guides/autoscaling.md)."


def _story(client: Client, name: str, variant: str, about: dict[str, Any], start_s: float, end_s: float) -> list[Told]:
    from trimtab.aws.client import CallFailed
    from trimtab.cli.explaining.story import story

    query = {"variant": variant} if variant else {}
    try:
        endpoint = client.get(f"endpoints/{name}")
    except CallFailed as error:
        if error.code != "NotFound":
            raise
        endpoint = {}  # it is no more; what was decided of it is still known
    lines = client.lines(f"endpoints/{name}/scaling", **query, start=repr(start_s), end=repr(end_s), only="decisions")
    return [one for one in story(lines, about["activities"], endpoint) if one.at_s >= start_s]


def _follow(client: Client, name: str, variant: str, about: dict[str, Any], *, made: bool, seen_s: float) -> None:
    """Print decisions as they are made; a change once it is over, so that what became of it is told, too."""
    from trimtab.cli.explaining.page import show_decisions

    told_s = seen_s
    while True:
        time.sleep(_FOLLOW_S)
        about = _about(client, name, variant)
        new = _story(client, name, variant, about, told_s - _AGAIN_S, time.time())
        fresh = []
        for one in new:
            if one.at_s <= told_s:
                continue
            if one.made and (one.activity is None or one.activity.took_s is None) and time.time() - one.at_s < 60:
                break
            fresh.append(one)
        shown = [one for one in fresh if one.made or not made]
        show_decisions(shown, shutil.get_terminal_size((160, 50)).columns)
        told_s = max([told_s, *(one.at_s for one in fresh)])
