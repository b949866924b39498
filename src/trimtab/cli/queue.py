"""`trimtab queue`: what waits at an asynchronous endpoint, and what has died there."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.groups import group
from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import CliError, ago, at, emit, emit_json, one_line, say, size, table

if TYPE_CHECKING:
    from trimtab.aws.client import Client

_SHOWN = 20
_REASON_CHARS = 100

queue = group(
    "queue",
    "Queue of an asynchronous endpoint: `trimtab queue ENDPOINT` shows it; redrive has dead letters worked on "
    "anew, purge removes them, or what waits.",
    unnamed="show",
)


class State(StrEnum):
    """Which requests are listed."""

    WAITING = "waiting"
    IN_FLIGHT = "in-flight"
    DEAD = "dead"


@queue.command()
def show(
    name: EndpointName,
    state: Annotated[State, typer.Option(help="Which requests to list, oldest first.")] = State.DEAD,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Requests to list.")] = _SHOWN,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show depth, age of the oldest request, what is in flight, retries, and dead letters with their reasons.

    `trimtab queue NAME` is the same.
    """
    from trimtab.cli.connect import connect

    client = connect(data_dir)
    about = client.get(f"endpoints/{name}/queue")
    tasks = client.get(f"endpoints/{name}/queue/tasks", state=_STATES[state], most=str(limit))["tasks"]
    if as_json:
        emit_json({**about, "tasks": tasks})
        return
    for line in summary(about, time.time()):
        emit(line)
    if tasks:
        emit("")
        _print(tasks, state)


@queue.command()
def redrive(
    name: EndpointName,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Dead letters, oldest first.")] = 1_000_000,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Have dead letters worked on anew. Each tells its result, or its failure, where the first attempt would have."""
    from trimtab.cli.connect import connect

    count = connect(data_dir).change("POST", f"endpoints/{name}/queue/redrive", {}, most=str(limit))["count"]
    if as_json:
        emit_json({"redriven": count})
        return
    emit(f"{_requests(count)} of {name} {'waits' if count == 1 else 'wait'} again.")


@queue.command()
def purge(
    name: EndpointName,
    dead: Annotated[bool, typer.Option("--dead", help="The dead letters, rather than what waits.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Remove all requests that nobody works on yet, or with --dead all dead letters. What is in flight goes on.

    Whoever sent them gets no result, no failure and no notice. Asks before it does so.
    """
    from trimtab.cli.connect import connect

    client = connect(data_dir)
    about = client.get(f"endpoints/{name}/queue")
    what = _requests(about["dead"], "dead letter") if dead else _requests(about["waiting"], "waiting request")
    if not yes:
        _confirm(name, what)
    count = _purged(client, name, dead)
    if as_json:
        emit_json({"purged": count})
        return
    emit(f"{_requests(count)} of {name} removed.")


_STATES = {State.WAITING: "waiting", State.IN_FLIGHT: "leased", State.DEAD: "dead"}


def summary(about: dict[str, Any], now_s: float) -> list[str]:
    """How a queue is, for people."""
    waiting = f"{about['waiting']} waiting"
    if about["delayed"]:
        waiting += f" ({about['delayed']} to be tried again later)"
    first = f"{about['endpoint']}: {waiting}, {about['in_flight']} in flight, {about['dead']} dead"
    lines = [first + (", endpoint deleted" if about["deleting"] else "")]
    if about["oldest_s"]:
        lines.append(f"oldest    {ago(about['oldest_s'], now_s)}, accepted at {at(about['oldest_s'])}")
    lines.append(f"retries   {about['retries']}")
    lines.append(f"accepted  {about['accepted']}, of which {about['ended']} ended, {about['expired']} expired")
    bound = f" of at most {size(about['max_bytes'])}" if about["max_bytes"] else ""
    lines.append(f"kept      {size(about['bytes'])}{bound}")
    return lines


def _print(tasks: list[dict[str, Any]], state: State) -> None:
    columns = ["ID", "INFERENCE ID", "ACCEPTED", "ATTEMPTS", "INPUT", "REASON"]
    rows = [
        [
            task["id"],
            one_line(task.get("inference_id", "")),
            at(task["accepted_s"]),
            str(task.get("attempts", 0)),
            one_line(task.get("input_location", "")) or "in the request",
            one_line(task.get("reason", ""))[:_REASON_CHARS] or "-",
        ]
        for task in tasks
    ]
    table(columns, rows, right=("ATTEMPTS",), title=state.value)


def _confirm(name: str, what: str) -> None:
    import sys

    if not sys.stdin.isatty():
        raise CliError(
            f"{what} of {name} would be removed, without result or notice.", "Say --yes where nobody can ask."
        )
    say(f"{what} of {name} will be removed, without result or notice.")
    if typer.prompt(f"Type {name} to go on", default="", show_default=False, err=True) != name:
        raise CliError("Nothing was removed.")


def _purged(client: Client, name: str, dead: bool) -> int:
    answer = client.change("POST", f"endpoints/{name}/queue/purge", {}, dead="true" if dead else "false")
    return int(answer["count"])


def _requests(count: int, what: str = "request") -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
