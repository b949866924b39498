"""botocore's halves of the wire, and random values of any shape: the SDK is the oracle."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from trimtab.aws.http import BytesBody, Headers, HttpRequest, HttpResponse
from trimtab.aws.protocols.patterns import compiled
from trimtab.aws.services import SERVICES

ANY_TEXT = string.ascii_letters + string.digits + " <>&\"'\n\r\t;:/?#[]@!$()*+,=%é漢😀"
HEADER_TEXT = string.ascii_letters + string.digits + "-_=/:;"
MAX_DEPTH = 5
# One of these fits nearly every pattern and length of the models.
FITTING = (
    "a", "model-1", "1", "123456789012", "ab1", "us-east-1", "us-east-1a", "image:1", "s3://bucket/key", "/", "/a/", "a/b", "a=b", "1.0",
    "arn:aws:iam::123456789012:role/role-1", "arn:aws:iam::123456789012:policy/policy-1", "arn:aws:iam::aws:policy/P",
    "arn:aws:sagemaker:us-east-1:123456789012:endpoint/model-1", "arn:aws:sagemaker:us-east-1:123456789012:model/model-1",
    "arn:aws:kms:us-east-1:123456789012:key/abc", "https://example.com/a", "a@example.com", "2026-01-01T00:00:00Z",
    "1234567890123456", "a" * 40, "a" * 128, '{"Version":"2012-10-17"}', "GMT", "P1D", "10.0.0.0/16", "text/csv", "vpc-0a1b2c3d",
)  # fmt: skip


@cache
def model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


def request(service: str, operation: str, params: dict[str, Any], protocol: str) -> HttpRequest:
    """What botocore sends, unsigned but for the service in the credential scope."""
    serialized = create_serializer(protocol, include_validation=False).serialize_to_request(
        params, model(service).operation_model(operation)
    )
    serialized["context"] = {}
    prepare_request_dict(serialized, "http://localhost:7070")
    serialized["url"] = serialized["url"].replace("http://" + serialized.get("host_prefix", ""), "http://")
    prepared = create_request_object(serialized).prepare()
    url = urlsplit(prepared.url)
    headers = [(name.lower(), _text(value)) for name, value in prepared.headers.items()]
    scope = SERVICES[service].signing_name
    headers.append(("authorization", f"AWS4-HMAC-SHA256 Credential=KEY/20260101/us-east-1/{scope}/aws4_request, x=y"))
    headers.append(("host", "localhost:7070"))
    body = prepared.body or b""
    if protocol == "rest-xml" and body.startswith(b"<"):
        body = body.replace(b"\r", b"&#xD;")  # as a handler of botocore's clients does
    return HttpRequest(
        method=prepared.method,
        raw_path=url.path or "/",
        query=url.query,
        headers=Headers(headers),
        body=BytesBody(body.encode() if isinstance(body, str) else bytes(body)),
    )


def parsed(service: str, operation: str, response: HttpResponse, protocol: str) -> dict[str, Any]:
    """What botocore's client returns of `response`."""
    shape = model(service).operation_model(operation).output_shape
    result = create_parser(protocol).parse(raw(response), shape)
    result.pop("ResponseMetadata", None)
    return result


def error(response: HttpResponse, protocol: str) -> dict[str, Any]:
    """botocore's parsed error: `Error.Code`, `Error.Message`, ..."""
    return create_parser(protocol).parse(raw(response), None)


def raw(response: HttpResponse) -> dict[str, Any]:
    assert isinstance(response.body, bytes)
    headers = HeadersDict()
    for name, value in response.headers:
        headers[name] = value
    return {"status_code": response.status, "headers": headers, "body": response.body, "context": {}}


class Values:
    """Random values of botocore shapes that survive the wire unchanged; with `valid`, that fit the constraints too."""

    def __init__(self, random: Random, *, valid: bool = False) -> None:
        self.random = random
        self.valid = valid

    def message(self, shape: Any) -> dict[str, Any]:
        """Params or a result; what HTTP itself needs is always there."""
        return {} if shape is None else self.structure(shape, 0)

    def structure(self, shape: Any, depth: int) -> dict[str, Any]:
        names = list(shape.members)
        wanted = [
            n
            for n in names
            if n in shape.required_members
            or shape.members[n].serialization.get("location") == "uri"
            or (depth < MAX_DEPTH and self.random.random() < 0.4)
        ]
        if not wanted and names:
            wanted = [self.random.choice(names)]
        if getattr(shape, "is_tagged_union", False):
            wanted = [self.random.choice(names)]
        return {n: self.value(shape.members[n], depth + 1, _alphabet(shape.members[n])) for n in wanted}

    def value(self, shape: Any, depth: int, alphabet: str = ANY_TEXT) -> Any:
        kind = shape.type_name
        located = shape.serialization.get("location") in ("header", "headers", "querystring")
        if kind == "structure":
            return self.structure(shape, depth)
        count = 0 if depth > 3 * MAX_DEPTH else self.random.randint(1, 2)
        if self.valid and kind in ("list", "map"):
            least = int(shape.metadata.get("min", 0))
            count = max(least, min(count, int(shape.metadata.get("max", count))))
        if kind == "list":
            return [self.value(shape.member, depth + 1, alphabet) for _ in range(count)]
        if kind == "map":
            lower = string.ascii_lowercase if located else alphabet
            return {
                self.text(shape.key, lower) + ("" if self.valid else str(i)): self.value(
                    shape.value, depth + 1, alphabet
                )
                for i in range(count)
            }
        return self.scalar(shape, kind, alphabet, located)

    def scalar(self, shape: Any, kind: str, alphabet: str, located: bool) -> Any:
        if kind == "string":
            return self.text(shape, alphabet)
        if self.valid and kind in ("integer", "long", "float", "double"):
            least = int(shape.metadata.get("min", 1))
            return self.random.randint(least, max(least, int(shape.metadata.get("max", least + 1))))
        if kind == "integer":
            return self.random.randint(-(2**31), 2**31 - 1)
        if kind == "long":
            return self.random.randint(-(2**63), 2**63 - 1)
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind in ("float", "double"):
            return self.random.choice([0.0, 1.5, -2.25e-7, self.random.uniform(-1e9, 1e9)])
        if kind == "timestamp":
            whole = located or shape.serialization.get("timestampFormat") == "rfc822"
            millis = 0 if whole else self.random.randint(0, 999)
            return datetime(1971, 1, 1, tzinfo=UTC) + timedelta(
                seconds=self.random.randint(0, 4 * 10**9), milliseconds=millis
            )
        assert kind == "blob", kind
        return bytes(self.random.choices(range(256), k=self.random.randint(1, 20)))

    def text(self, shape: Any, alphabet: str) -> str:
        enum = getattr(shape, "enum", None)
        if enum:
            return self.random.choice(enum)
        if self.valid and not shape.serialization.get("hostLabel"):
            found = [text for text in FITTING if _fits(shape, text)]
            return self.random.choice(found) if found else "a" * int(shape.metadata.get("min", 1))
        return "".join(self.random.choices(alphabet, k=self.random.randint(1, 12)))


def without_empties(value: Any) -> Any:
    """XML and forms cannot tell an empty list, map or structure from none at all."""
    if isinstance(value, dict):
        pruned = {k: without_empties(v) for k, v in value.items()}
        return {k: v for k, v in pruned.items() if v not in ({}, [])}
    if isinstance(value, list):
        return [without_empties(v) for v in value]
    return value


def operations(service: str) -> Iterator[OperationModel]:
    for name in model(service).operation_names:
        yield model(service).operation_model(name)


def _fits(shape: Any, text: str) -> bool:
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 10**9)
    pattern = shape.metadata.get("pattern", "")
    return low <= len(text) <= high and (not pattern or compiled(pattern).match(text) is not None)


def _alphabet(shape: Any) -> str:
    if shape.serialization.get("hostLabel"):
        return string.ascii_lowercase
    return HEADER_TEXT if shape.serialization.get("location") in ("header", "headers") else ANY_TEXT


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
