"""A real `trimtab serve`, real AWS clients, real models."""

from __future__ import annotations

import gc
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.testing.artifacts import archive
from trimtab.testing.server import Trimtab

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """boto3 leaves sockets of answers that ended in an error to the collector: no fault of what is tested here."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What boto3 left is collected here, not in the middle of somebody else's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


Serve = Callable[..., Trimtab]


@pytest.fixture(scope="session")
def trimtab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trimtab]:
    """One server for all tests that do it no harm."""
    server = Trimtab(tmp_path_factory.mktemp("shared") / "data")
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def sqs(trimtab: Trimtab) -> Any:
    """Queues of the shared server."""
    return trimtab.client("sqs")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Servers of one's own, for tests that kill, fill or configure them: `serve("--gateways", "2")`."""
    running: list[Trimtab] = []

    def start(*options: str, data_dir: Path | None = None) -> Trimtab:
        running.append(Trimtab(data_dir or tmp_path / f"data{len(running)}", *options))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def name() -> str:
    """A fresh name for a model, config and endpoint."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def fraud() -> tuple[bytes, np.ndarray, np.ndarray]:
    """The fraud model of the example as an artifact; test payments [n, 29]; which of them were frauds [n]."""
    sys.path.insert(0, str(ROOT / "examples" / "fraud"))
    try:
        from train import load, train  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    learn, test = load()
    return archive(model_onnx=train(learn)), test.features, test.fraud
