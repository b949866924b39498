"""No price file of the user's, no credentials but the test's."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from pricing_server import LINUX, PricingServer, entry, pricing_server


@pytest.fixture(autouse=True)
def _nobodys_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TRIMTAB_PRICES", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_PRICING", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[PricingServer]:
    """A price list with what is wanted and what is not."""
    entries = [
        entry("AmazonSageMaker", "USE1-Host:ml.g5.xlarge", "1.5080000000", component="Hosting"),
        entry("AmazonSageMaker", "USE1-Train:ml.g5.xlarge", "1.4080000000", component="Training"),
        entry("AmazonSageMaker", "USE1-AsyncInf:ml.g5.xlarge", "1.4080000000"),
        entry("AmazonSageMaker", "USE1-Tsform:ml.g5.xlarge", "1.4080000000"),
        entry("AmazonSageMaker", "USE1-Notebk:ml.g5.xlarge", "1.4080000000"),
        entry("AmazonSageMaker", "USE1-ServerlessInf:Mem-2GB", "0.0000400000", unit="Seconds"),
        entry("AmazonSageMaker", "USE1-Hst:Data-Bytes-Out", "0.0160000000", unit="GB"),
        entry("AmazonSageMaker", "EU-Host:ml.g5.xlarge", "1.5722000000", region="eu-west-1"),
        entry("AmazonEC2", "BoxUsage:g5.xlarge", "1.0060000000", **LINUX),
        entry("AmazonEC2", "BoxUsage:g5.xlarge", "1.1900000000", **(LINUX | {"operatingSystem": "Windows"})),
    ]
    with pricing_server(entries) as serving:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", serving.url)
        yield serving
    gc.collect()  # botocore's connections go with their clients
