"""A CloudWatch in memory with botocore's real client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudwatch_world import CloudWatch


@pytest.fixture(params=["json", "query", "smithy-rpc-v2-cbor"])
def cloudwatch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CloudWatch]:
    """Once for each protocol that clients speak."""
    made = CloudWatch(tmp_path / "t.db", request.param)
    yield made
    made.store.close()


@pytest.fixture
def client(cloudwatch: CloudWatch) -> Any:
    return cloudwatch.client


@pytest.fixture
def put(client: Any, cloudwatch: CloudWatch) -> Callable[..., None]:
    """`put("m", 3.0, ago=60)`: a value of the metric `m` in namespace `test`."""

    def put(name: str, *values: float, ago: float = 0.0, resolution: int = 60, **more: Any) -> None:
        datum = {
            "MetricName": name,
            "Values": list(values),
            "Timestamp": cloudwatch.clock.now_s() - ago,
            "StorageResolution": resolution,
        }
        client.put_metric_data(Namespace="test", MetricData=[datum | more])

    return put
