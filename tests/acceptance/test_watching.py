"""What replicas take and what happens to them, in a real `trimtab serve`: in `trimtab top`, and in the metric store."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from trimtab.clock import SystemClock
from trimtab.config import Paths
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.metrics.store import MetricKey
from trimtab.testing.artifacts import script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

HUNGRY = """
def model_fn(model_dir):
    return None

def transform_fn(model, data, content_type, accept):
    if data == "much":
        raise MemoryError("no room for the answer")
    total = 0
    for number in range(200_000 if data == "busy" else 1):
        total += number
    return str(total), "text/plain"
"""


def look(server: Trimtab, name: str) -> dict[str, Any]:
    """The endpoint as `trimtab top` has it now."""
    [endpoint] = json.loads(server.cli("top", name, "--json"))["endpoints"]
    return dict(endpoint)


def ask(server: Trimtab, name: str, what: str) -> bytes:
    return server.invoke(name, what.encode(), content_type="application/json")


def test_an_endpoints_life_is_seen_and_counted(serve: Any, name: str) -> None:
    server = serve()
    began_s = int(time.time()) - 1
    server.deploy(name, script(HUNGRY))

    def busy() -> bool:
        ask(server, name, "busy")
        figures = look(server, name)["figures"]
        return figures.get("rate_per_s", 0) > 0 and figures.get("cpu_percent", 0) > 0 and "p99_ms" in figures

    wait_until(busy)
    figures = look(server, name)["figures"]
    assert 2**20 < figures["memory_bytes"] < 2**33
    assert 0 < figures["memory_percent"] < 100
    assert "gpu_percent" not in figures  # unless there are any: no figure is made up

    with pytest.raises(ClientError, match="ran out of memory"):
        ask(server, name, "much")
    assert list(wait_until(lambda: look(server, name).get("errors_by_reason"))) == ["OutOfMemory"]
    assert look(server, name)["figures"]["errors_per_s"] > 0

    [replica] = look(server, name)["variants"][0]["replicas"]
    os.kill(replica["pids"][0], signal.SIGKILL)

    def replaced() -> bool:
        endpoint = look(server, name)
        replicas = endpoint["variants"][0]["replicas"]
        return endpoint["replicas_ready"] == 1 and [r["id"] for r in replicas] != [replica["id"]]

    wait_until(replaced)
    [lost] = [event for event in look(server, name)["events"] if event["what"] == "replica lost"]
    assert (lost["failure"], lost["replica_id"]) == ("Exited", replica["id"])
    server.stop()

    store = SqliteMetricStore(Paths(server.data_dir).metrics, SystemClock())

    def total(namespace: str, metric: str, **more: str) -> tuple[float, float]:
        """Count and sum of all that was recorded."""
        dimensions = {"EndpointName": name, "VariantName": "blue", **more}
        key = MetricKey(namespace, metric, tuple(sorted(dimensions.items())))
        points = store.query(key, began_s, int(time.time()) + 1, 1)
        return sum(point.sketch.count for point in points), sum(point.sketch.sum for point in points)

    try:
        assert total("trimtab/Endpoints", "ModelLoadTime", Cause="Deployment")[0] == 1
        count, took_ms = total("trimtab/Endpoints", "ModelLoadTime", Cause="Restart")
        assert (count, 0 < took_ms < 30_000) == (1, True)
        assert total("trimtab/Endpoints", "ReplicasLost", Reason="Exited") == (1, 1)
        assert total("trimtab/Endpoints", "ReplicasOutOfMemory") == (0, 0)
        assert total("trimtab/Endpoints", "Errors", Reason="OutOfMemory")[1] == 1
        assert total("/aws/sagemaker/Endpoints", "CPUUtilization")[1] > 0
        assert total("/aws/sagemaker/Endpoints", "DiskUtilization")[1] > 0
        assert total("/aws/sagemaker/Endpoints", "GPUUtilization") == (0, 0)
        assert total("trimtab/Endpoints", "ReplicasDesired")[0] >= 1
    finally:
        store.close()
