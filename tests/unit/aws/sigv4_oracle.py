"""botocore signs, the test carries the request over as a wire would: the oracle of the signature tests."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from trimtab.resources.routing import AccessKey

KEY = AccessKey(id="TTABROOTKEY000000001", secret="secret/with+odd=characters0123456789abcd")
KEYS = {KEY.id: KEY}
NOW_S = 1_795_456_800.0  # 2026-11-23T18:00:00Z
HOST = "127.0.0.1:7070"


@dataclass(frozen=True)
class Wire:
    """A request as a server sees it."""

    method: str
    raw_path: str
    query: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        return dict(self.headers)[name]

    def with_header(self, name: str, value: str) -> Wire:
        return replace(self, headers=[(n, value if n == name else v) for n, v in self.headers])

    def without(self, name: str) -> Wire:
        return replace(self, headers=[(n, v) for n, v in self.headers if n != name])

    def plus(self, name: str, value: str) -> Wire:
        return replace(self, headers=[*self.headers, (name, value)])


def credentials(key: AccessKey = KEY, token: str | None = None) -> Credentials:
    return Credentials(key.id, key.secret, token)


def sign(
    signer: Any,
    method: str = "POST",
    path: str = "/",
    *,
    query: str = "",
    headers: list[tuple[str, str]] | None = None,
    body: bytes = b"",
    at_s: float = NOW_S,
    scheme: str = "http",
    context: dict[str, Any] | None = None,
) -> Wire:
    """Let botocore's `signer` sign; Host is added as an HTTP client would."""
    url = f"{scheme}://{HOST}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, data=body)
    for name, value in headers or []:
        request.headers[name] = value
    request.context.update(context or {})
    moment = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    with (
        mock.patch.object(botocore.auth, "get_current_datetime", return_value=moment.replace(tzinfo=None)),
        mock.patch.object(botocore.auth.time, "time", return_value=at_s),
        mock.patch.object(botocore.auth, "formatdate", return_value=moment.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    ):
        signer.add_auth(request)
    split = urlsplit(request.url)
    sent = [(name.lower(), " ".join([value]).strip()) for name, value in request.headers.items()]
    return Wire(method, split.path or "/", split.query, [("host", HOST), *sent], body)
