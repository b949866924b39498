"""`trimtab endpoints`: what there is."""

from __future__ import annotations

from typing import Any

from trimtab.cli.options import AsJson, DataDir
from trimtab.cli.render import ago, emit_json, first_line, say, table


def endpoints(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the endpoints."""
    from trimtab.cli.connect import connect

    document = connect(data_dir).get("endpoints")
    if as_json:
        emit_json(document)
        return
    found = document["endpoints"]
    if not found:
        say("There are no endpoints. `trimtab deploy MODEL_DIR --name NAME` makes one.")
        return
    table(
        ("NAME", "STATUS", "REPLICAS", "CONFIG", "VARIANTS", "CHANGED", "REASON"),
        [_row(endpoint) for endpoint in found],
        right=("REPLICAS", "CHANGED"),
    )


def _row(endpoint: dict[str, Any]) -> tuple[str, ...]:
    config = endpoint["config_name"]
    if pending := endpoint.get("pending_config_name"):
        config = f"{config} -> {pending}"
    return (
        endpoint["name"],
        endpoint["status"],
        f"{endpoint['replicas_ready']}/{endpoint['replicas_desired']}",
        config,
        ", ".join(variant["name"] for variant in endpoint.get("variants", ())),
        ago(endpoint["modified_s"]),
        first_line(endpoint.get("failure_reason", ""))[:80],
    )
