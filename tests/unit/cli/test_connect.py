"""Which trimtab a verb talks to: an address that is none is refused, not called."""

from __future__ import annotations

import pytest

from trimtab.cli.connect import connect
from trimtab.cli.render import CliError


@pytest.mark.parametrize("url", ["garbage", "http://", "ftp://a", "http://a:port", "http://a:99999", "http://[a", "//"])
def test_an_address_that_is_none_is_said_to_be_none(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    with pytest.raises(CliError, match="is no address such as http://127.0.0.1:7070"):
        connect(None)


def test_keys_of_another_trimtab_are_said_to_be(bare, server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    done = bare("endpoints")
    assert done.exit_code == 1
    assert "The keys are not this trimtab's" in done.stderr
