"""A CloudWatch in memory with botocore's real client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudwatch_world import CloudWatch


@pytest.fixture
def cloudwatch(tmp_path: Path) -> Iterator[CloudWatch]:
    made = CloudWatch(tmp_path / "t.db")
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
