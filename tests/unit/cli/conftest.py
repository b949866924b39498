"""Verbs run in-process against a server in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from cli_server import KEY, REGION, Server, World
from typer.testing import CliRunner, Result

from trimtab.cli.main import app

Trimtab = Callable[..., Result]


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    running = Server(tmp_path / "logs")
    yield running
    running.close()
    gc.collect()  # botocore's connections go with their clients


@pytest.fixture
def world(server) -> World:
    return server.world


@pytest.fixture
def bare(monkeypatch, tmp_path) -> Trimtab:
    """`trimtab VERB ...` where no trimtab is known."""
    for name in (
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "TRIMTAB_DEBUG",
        "AWS_SESSION_TOKEN",
        "TRIMTAB_PRICES",
        "COLUMNS",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("TRIMTAB_DATA_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str, **options) -> Result:
        return CliRunner().invoke(app, list(arguments), **options)

    return run


@pytest.fixture
def trimtab(bare, server, monkeypatch) -> Trimtab:
    """`trimtab VERB ...` with the environment of `trimtab env`."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY.secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    return bare
