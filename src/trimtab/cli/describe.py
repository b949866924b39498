"""`trimtab describe`: an endpoint with its variants, replicas, start budgets, failures and events."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import ago, at, emit, emit_json, first_line, milliseconds, table

# The steps of a start, in order (resources/replica.py, StartBudget).
STEPS = ("detect", "decide", "place", "fetch", "fork", "import", "load", "warm", "first_answer")


def describe(
    name: EndpointName,
    events: Annotated[int, typer.Option(min=0, help="How many of the last events to show.")] = 20,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show an endpoint: variants, replicas, start budgets, failures and events with their reasons."""
    from trimtab.cli.connect import connect

    document = connect(data_dir).get(f"endpoints/{name}")
    if as_json:
        emit_json(document)
        return
    _headline(document)
    _variants(document)
    if document["replicas"]:
        _replicas(document["replicas"])
        _batching(document["replicas"])
        _budgets(document["replicas"])
        _failures(document["replicas"])
    if events and document["events"]:
        _events(document["events"][-events:])


def _headline(document: dict[str, Any]) -> None:
    pending = document.get("pending_config_name")
    facts = [
        ("endpoint", document["name"]),
        ("status", f"{document['status']}, {ago(document['modified_s'])} ago"),
        ("config", f"{document['config_name']} -> {pending}" if pending else document["config_name"]),
        ("created", at(document["created_s"])),
    ]
    for label, value in facts:
        emit(f"{label + ':':10}{value}")
    if reason := document.get("failure_reason"):
        emit(f"{'reason:':10}" + reason.replace("\n", "\n" + " " * 10))


def _variants(document: dict[str, Any]) -> None:
    rows = [
        (
            variant["name"],
            state,
            _size(variant),
            _change(variant["current_weight"], variant["desired_weight"]),
        )
        for state, key in (("current", "variants"), ("pending", "pending_variants"))
        for variant in document.get(key, ())
    ]
    if rows:
        emit("")
        table(("VARIANT", "", "REPLICAS", "WEIGHT"), rows, right=("REPLICAS", "WEIGHT"))


def _size(variant: dict[str, Any]) -> str:
    if (rules := variant.get("serverless")) is None:
        return _change(variant["current_count"], variant["desired_count"])
    least = f"{rules['provisioned']} to " if rules.get("provisioned") else "up to "
    return f"on demand, {least}{rules['max_concurrency']}"


def _replicas(replicas: list[dict[str, Any]]) -> None:
    emit("")
    table(
        ("REPLICA", "VARIANT", "STATE", "CONFIG", "PIDS", "IN FLIGHT", "GPUS", "AGE"),
        [
            (
                replica["id"],
                replica["variant"],
                replica["state"],
                replica["version"],
                ",".join(map(str, replica["pids"])) or "-",
                str(replica["in_flight"]),
                ",".join(map(str, replica["gpus"])) or "-",
                ago(replica["started_s"]) if replica["started_s"] else "-",
            )
            for replica in replicas
        ],
        right=("IN FLIGHT", "AGE"),
    )


def _batching(replicas: list[dict[str, Any]]) -> None:
    told = [(replica["id"], text) for replica in replicas if (text := replica.get("batching"))]
    if told:
        emit("")
        table(("REPLICA", "BATCHING"), told)


def _budgets(replicas: list[dict[str, Any]]) -> None:
    rows = [
        (
            replica["id"],
            *(milliseconds(replica["budget"].get(f"{step}_s")) for step in STEPS),
            milliseconds(replica["start_s"]),
        )
        for replica in replicas
        if replica["budget"]
    ]
    if rows:
        emit("")
        columns = tuple(step.replace("_", " ").upper() for step in STEPS)
        table(("START (ms)", *columns, "ALL"), rows, right=(*columns, "ALL"))


def _failures(replicas: list[dict[str, Any]]) -> None:
    for replica in replicas:
        if failure := replica.get("failure"):
            emit(f"\n{replica['id']} failed: {failure['reason']}: {failure['message']}")
            for line in failure.get("tail", "").splitlines():
                emit(f"    {line}")


def _events(events: list[dict[str, Any]]) -> None:
    emit("")
    table(
        ("TIME", "EVENT", "REASON", "REPLICA"),
        [
            (at(event["at_s"]), event["what"], first_line(event.get("reason", "")), event.get("replica_id", ""))
            for event in events
        ],
    )


def _change(current: float, desired: float) -> str:
    return f"{current:g}" if current == desired else f"{current:g} -> {desired:g}"
