"""AWS's service models, cut down to what is served: operations, shapes and their traits, read from botocore's data.

botocore's own loader and model classes keep a whole model with its documentation (and import an HTTP client, some
16 MB); here one pass decodes what is needed, and only shapes reachable from served operations stay. Of operations
that are not served, the name and the HTTP route stay, so that they can be answered by name.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct, field

# botocore's own order of preference, less the protocols not spoken here.
PROTOCOLS: Final = ("json", "rest-json", "rest-xml", "query")


class Known(Struct, frozen=True):
    """How requests to a service can be told apart without its model (a test compares this with the models)."""

    signing_name: str
    target_prefix: str = ""  # of X-Amz-Target
    api_version: str = ""  # `Version` in query requests


SERVICES: Final[Mapping[str, Known]] = {
    "sagemaker": Known("sagemaker", "SageMaker", "2017-07-24"),
    "sagemaker-runtime": Known("sagemaker", "", "2017-05-13"),
    "sagemaker-metrics": Known("sagemaker", "", "2022-09-30"),
    "s3": Known("s3", "", "2006-03-01"),
    "sts": Known("sts", "", "2011-06-15"),
    "iam": Known("iam", "", "2010-05-08"),
    "application-autoscaling": Known("application-autoscaling", "AnyScaleFrontendService", "2016-02-06"),
    "logs": Known("logs", "Logs_20140328", "2014-03-28"),
    "cloudwatch": Known("monitoring", "GraniteServiceVersion20100801", "2010-08-01"),
    "sqs": Known("sqs", "AmazonSQS", "2012-11-05"),
    "sns": Known("sns", "", "2010-03-31"),
}


# Codes of SQS that are not the prefix and the shape's name. Source: the SQS API reference, "Common Errors".
_SQS_CODES: Final[Mapping[str, str]] = {
    "AWS.SimpleQueueService.NonExistentQueue": "QueueDoesNotExist",
    "QueueAlreadyExists": "QueueNameExists",
    "ReceiptHandleIsInvalid": "ReceiptHandleIsInvalid",
    "InvalidAttributeName": "InvalidAttributeName",
    "OverLimit": "OverLimit",
}

# Enums that AWS's service itself does not hold to: SQS takes names of message attributes where its model has those of
# queues (ReceiveMessage's AttributeNames), and has an error of its own for others, InvalidAttributeName.
_OPEN_ENUMS: Final[Mapping[str, tuple[str, ...]]] = {"sqs": ("QueueAttributeName", "MessageSystemAttributeName")}


class Shape(Struct, eq=False):
    """A type of the model. Which fields mean something depends on `type` (botocore's type names)."""

    name: str
    type: str
    members: dict[str, Member] = field(default_factory=dict)  # structure
    required: tuple[str, ...] = ()
    element: Member | None = None  # list
    key: Member | None = None  # map
    value: Member | None = None
    enum: tuple[str, ...] = ()
    pattern: str = ""
    min: float | None = None  # of a length, a count or a value
    max: float | None = None
    payload: str = ""  # the member that is the HTTP body
    sensitive: bool = False
    union: bool = False
    document: bool = False
    eventstream: bool = False
    wire_name: str = ""


class Member(Struct, eq=False):
    """A use of a shape, with the traits of both: where it stands in a message and under which name."""

    name: str  # botocore's member name; `member`, `key`, `value` in lists and maps
    shape: Shape
    wire_name: str  # its name in the message
    explicit_name: bool = False  # the model named it; lists and maps have a default otherwise
    location: str = ""  # uri, querystring, header, headers, statusCode; empty: the body
    flattened: bool = False
    streaming: bool = False
    xml_attribute: bool = False
    xml_namespace: tuple[str, str] = ("", "")  # prefix, uri
    timestamp_format: str = ""
    json_value: bool = False


class Route(Struct, frozen=True):
    """The HTTP side of a REST operation, served or not."""

    operation: str
    method: str
    uri: str  # `/{Bucket}/{Key+}?uploads`
    required_query: tuple[str, ...] = ()
    required_headers: tuple[str, ...] = ()
    deprecated: bool = False


class Operation(Struct, eq=False):
    """A served operation."""

    name: str
    method: str
    uri: str
    status: int
    input: Shape | None
    output: Shape | None
    result_wrapper: str = ""


class Service(Struct, eq=False):
    """A service: what of it is served, and the names of all that AWS has."""

    name: str
    signing_name: str
    protocols: tuple[str, ...]
    target_prefix: str
    json_version: str
    api_version: str
    xml_namespace: str
    query_compatible: bool
    operations: dict[str, Operation]
    names: tuple[str, ...]  # every operation of AWS's model
    routes: tuple[Route, ...]  # REST services only
    error_shapes: dict[str, str]  # query-compatible services: query error code -> shape name

    @property
    def protocol(self) -> str:
        """The protocol that botocore picks."""
        return self.protocols[0]


class _Ref(Struct, rename="camel"):
    shape: str
    location: str = ""
    location_name: str = ""
    flattened: bool = False
    streaming: bool = False
    xml_attribute: bool = False
    xml_namespace: Any = None
    timestamp_format: str = ""
    jsonvalue: bool = False
    result_wrapper: str = ""


class _RawShape(Struct, rename="camel"):
    type: str
    members: dict[str, _Ref] = {}
    required: tuple[str, ...] = ()
    member: _Ref | None = None
    key: _Ref | None = None
    value: _Ref | None = None
    enum: tuple[str, ...] = ()
    pattern: str = ""
    min: float | None = None
    max: float | None = None
    payload: str = ""
    sensitive: bool = False
    union: bool = False
    document: bool = False
    eventstream: bool = False
    flattened: bool = False
    streaming: bool = False
    location_name: str = ""
    timestamp_format: str = ""
    xml_namespace: Any = None
    error: dict[str, Any] = {}
    exception: bool = False


class _Http(Struct, rename="camel"):
    method: str
    request_uri: str
    response_code: int = 200


class _RawOperation(Struct, rename="camel"):
    http: _Http
    input: _Ref | None = None
    output: _Ref | None = None
    errors: list[_Ref] = []
    deprecated: bool = False


class _Merge(Struct):
    shapes: dict[str, _RawShape] = {}


class _Extras(Struct):
    merge: _Merge


class _Model(Struct):
    metadata: dict[str, Any]
    operations: dict[str, _RawOperation]
    shapes: dict[str, _RawShape]


def load(name: str, served: Collection[str] | None = None) -> Service:
    """The model of `name` (botocore's service name), with the shapes of the `served` operations (None: of all).

    Names in `served` that AWS's model does not have are left out. Raises KeyError for a service not in `SERVICES`.
    """
    known = SERVICES[name]
    model = msgspec.json.decode(_read(name), type=_Model)
    for shape, change in _extras(name).items():
        model.shapes[shape].type = change.type
    for open_enum in _OPEN_ENUMS.get(name, ()):
        model.shapes[open_enum].enum = ()
    builder = _Builder(model.shapes)
    listed = model.metadata.get("protocols") or [model.metadata["protocol"]]
    protocols = [p for p in PROTOCOLS if p in listed]
    if "awsQueryCompatible" in model.metadata and "query" not in protocols:
        protocols.append("query")  # what older clients of the same service send
    operations = {n: builder.operation(n, raw) for n, raw in model.operations.items() if served is None or n in served}
    return Service(
        name=name,
        signing_name=known.signing_name,
        protocols=tuple(protocols),
        target_prefix=model.metadata.get("targetPrefix", ""),
        json_version=model.metadata.get("jsonVersion", "1.1"),
        api_version=model.metadata["apiVersion"],
        xml_namespace=_namespace(model.metadata.get("xmlNamespace"))[1],
        query_compatible="awsQueryCompatible" in model.metadata,
        operations=operations,
        names=tuple(sorted(model.operations)),
        routes=tuple(builder.route(n, raw) for n, raw in model.operations.items()) if _is_rest(protocols) else (),
        error_shapes=_error_shapes(model) if "awsQueryCompatible" in model.metadata else {},
    )


class Services:
    """The served services; each model is read on first use (10 to 40 ms) and kept."""

    def __init__(self, served: Mapping[str, Collection[str]]) -> None:
        self.served = {name: frozenset(operations) for name, operations in served.items()}
        unknown = self.served.keys() - SERVICES.keys()
        if unknown:
            raise ValueError(f"no service model is known for {sorted(unknown)}; add it to aws/services.py")
        self._loaded: dict[str, Service] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.served

    def get(self, name: str) -> Service:
        """The model. Raises KeyError for a service that is not served."""
        service = self._loaded.get(name)
        if service is None:
            service = self._loaded[name] = load(name, self.served[name])
        return service


class _Builder:
    def __init__(self, raw: dict[str, _RawShape]) -> None:
        self._raw = raw
        self._shapes: dict[str, Shape] = {}

    def operation(self, name: str, raw: _RawOperation) -> Operation:
        return Operation(
            name=name,
            method=raw.http.method,
            uri=raw.http.request_uri,
            status=raw.http.response_code,
            input=self.shape(raw.input.shape) if raw.input else None,
            output=self.shape(raw.output.shape) if raw.output else None,
            result_wrapper=raw.output.result_wrapper if raw.output else "",
        )

    def route(self, name: str, raw: _RawOperation) -> Route:
        shape = self._raw[raw.input.shape] if raw.input else _RawShape(type="structure")
        required = [shape.members[m] for m in shape.required]
        return Route(
            operation=name,
            method=raw.http.method,
            uri=raw.http.request_uri,
            required_query=tuple(r.location_name for r in required if r.location == "querystring"),
            required_headers=tuple(r.location_name.lower() for r in required if r.location == "header"),
            deprecated=raw.deprecated,
        )

    def shape(self, name: str) -> Shape:
        found = self._shapes.get(name)
        if found is not None:
            return found
        raw = self._raw[name]
        shape = self._shapes[name] = Shape(  # before its members: shapes may hold themselves
            name=name,
            type=raw.type,
            required=raw.required,
            enum=raw.enum,
            pattern=raw.pattern,
            min=raw.min,
            max=raw.max,
            payload=raw.payload,
            sensitive=raw.sensitive,
            union=raw.union,
            document=raw.document,
            eventstream=raw.eventstream,
            wire_name=raw.location_name,
        )
        shape.members = {n: self.member(n, ref) for n, ref in raw.members.items()}
        shape.element = self.member("member", raw.member) if raw.member else None
        shape.key = self.member("key", raw.key) if raw.key else None
        shape.value = self.member("value", raw.value) if raw.value else None
        return shape

    def member(self, name: str, ref: _Ref) -> Member:
        target = self._raw[ref.shape]
        explicit = ref.location_name or target.location_name
        return Member(
            name=name,
            shape=self.shape(ref.shape),
            wire_name=explicit or name,
            explicit_name=bool(explicit),
            location=ref.location,
            flattened=ref.flattened or target.flattened,
            streaming=ref.streaming or target.streaming,
            xml_attribute=ref.xml_attribute,
            xml_namespace=_namespace(ref.xml_namespace or target.xml_namespace),
            timestamp_format=ref.timestamp_format or target.timestamp_format,
            json_value=ref.jsonvalue,
        )


def _folder(name: str) -> Path:
    spec = importlib.util.find_spec("botocore")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("botocore is not installed; trimtab reads AWS's service models from it")
    return Path(spec.submodule_search_locations[0]) / "data" / name / SERVICES[name].api_version


def _read(name: str) -> bytes:
    packed = _folder(name) / "service-2.json.gz"
    return gzip.decompress(packed.read_bytes()) if packed.exists() else packed.with_suffix("").read_bytes()


def _extras(name: str) -> dict[str, _RawShape]:
    """What botocore corrects in AWS's model: the type of S3's Expires, a timestamp to every client."""
    path = _folder(name) / "service-2.sdk-extras.json"
    return msgspec.json.decode(path.read_bytes(), type=_Extras).merge.shapes if path.exists() else {}


def _is_rest(protocols: list[str]) -> bool:
    return protocols[0].startswith("rest-")


def _namespace(value: Any) -> tuple[str, str]:
    if isinstance(value, dict):
        return value.get("prefix", ""), value.get("uri", "")
    return "", value or ""


def _error_shapes(model: _Model) -> dict[str, str]:
    named = {raw.error.get("code", name): name for name, raw in model.shapes.items() if raw.error}
    if model.metadata["endpointPrefix"] == "sqs":  # its model has lost the codes of the query days
        named.update({f"AWS.SimpleQueueService.{name}": name for name, raw in model.shapes.items() if raw.exception})
        named.update(_SQS_CODES)
    return named
