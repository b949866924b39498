"""InvokeEndpoint, or its streaming sister, as a load test sends it: the `Sender` for SageMaker's runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from trimtab.aws.eventstream_reader import EventReader
from trimtab.aws.sigv4.signer import Credentials, Signer
from trimtab.errors import Invalid
from trimtab.jobs.loadtest.payloads import Payload
from trimtab.jobs.loadtest.sender import Address, Failure

_AGENT = "trimtab-bench"


class Invoker(Struct, frozen=True):
    """Requests to one endpoint of the service at `url`, signed with `credentials` for `region`."""

    url: str
    endpoint: str
    credentials: Credentials
    region: str
    streams: bool = False

    @property
    def address(self) -> Address:
        """Host and port of `url`. Raises Invalid for what is no http(s) URL."""
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise Invalid(f"{self.url!r} is no URL: {error}.") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"{self.url!r} is no http:// or https:// URL.")
        tls = parts.scheme == "https"
        return Address(parts.hostname, port or (443 if tls else 80), tls, os.environ.get("AWS_CA_BUNDLE", ""))

    def wire(self, payload: Payload) -> Callable[[int], bytes]:
        """A whole request, signed anew each second only: a signature says the second it was made in, and no more."""
        parts = urlsplit(self.url)
        operation = "invocations-response-stream" if self.streams else "invocations"
        path = f"{parts.path.rstrip('/')}/endpoints/{quote(self.endpoint, safe='')}/{operation}"
        headers = [("Host", parts.netloc.rpartition("@")[2]), *_members(payload, streams=self.streams)]
        signed = Signer(self.credentials, self.region).prepare("POST", path, headers, payload.body)
        start = f"POST {path} HTTP/1.1\r\n"
        end = f"User-Agent: {_AGENT}\r\nContent-Length: {len(payload.body)}\r\n\r\n"
        last: tuple[int, bytes] = (-1, b"")

        def at(second: int) -> bytes:
            nonlocal last
            if last[0] != second:
                lines = "".join(f"{name}: {value}\r\n" for name, value in signed(second))
                last = (second, f"{start}{lines}{end}".encode() + payload.body)
            return last[1]

        return at

    def failure(self, status: int, error_type: bytes, body: bytes) -> Failure:
        """AWS's code and message of an error answer."""
        kind = error_type.decode("latin-1").partition(":")[0] or f"HTTP {status}"
        message = _message(body)
        lost = (
            kind == "ValidationError" and f"Endpoint {self.endpoint} of account" in message and "not found" in message
        )
        return Failure(kind, message, hopeless=lost)

    def stream_reader(self) -> StreamAnswer:
        """See `Sender`."""
        return StreamAnswer()


class StreamAnswer:
    """One streamed answer: its chunks are the `PayloadPart` events."""

    def __init__(self) -> None:
        self._events = EventReader()
        self._broken = ""

    def feed(self, data: bytes) -> int:
        """See `StreamReader`."""
        if self._broken:
            return 0
        try:
            return self._events.feed(data)
        except Invalid as error:
            self._broken = str(error)
            return 0

    @property
    def failure(self) -> Failure | None:
        """See `StreamReader`."""
        events = self._events
        if events.exception:
            return Failure(events.exception, events.message)
        if self._broken or events.within_message:
            return Failure("BadAnswer", self._broken or "The stream ended within an event.")
        return None


def _members(payload: Payload, *, streams: bool) -> list[tuple[str, str]]:
    """Headers of the operation's members (botocore's `sagemaker-runtime` model)."""
    members = (
        ("Content-Type", payload.content_type),
        ("X-Amzn-SageMaker-Accept" if streams else "Accept", payload.accept),
        ("X-Amzn-SageMaker-Target-Variant", payload.target_variant),
        ("X-Amzn-SageMaker-Target-Model", payload.target_model),
        ("X-Amzn-SageMaker-Custom-Attributes", payload.custom_attributes),
    )
    return [(name, value) for name, value in members if value]


def _message(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")
    if not isinstance(said, dict):
        return str(said)
    message = str(said.get("Message") or said.get("message") or "")
    return str(said.get("OriginalMessage") or message)
