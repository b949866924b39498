"""What an operation's handler is given, what it returns, and how it says that it exists.

A service is a class (or a module) whose methods (or functions) carry `@operation`:

    class Models:
        def __init__(self, control: ControlApi) -> None: ...

        @operation("sagemaker", "CreateModel", missing="VpcConfig is kept but not applied")
        async def create_model(self, call: Call, params: dict[str, Any]) -> dict[str, Any]: ...

    handlers = merge(handlers_of(Models(control)), handlers_of(Endpoints(control)))   # for the Dispatcher

`params` holds botocore's member names, already parsed and validated by AWS's model: str, int, float, bool, bytes,
list, dict, and `datetime` (aware, UTC) for timestamps. A streaming member (S3's `Body`) is an `aws.http.Body` that
nobody has read yet. What the caller left out is not in it.

A handler returns a dict of the output's member names in the same types; timestamps may be `datetime` or seconds since
the epoch, a streaming member may be `bytes` or an `AsyncIterator[bytes]`. Leave out what is not set; None is left out
too. Where AWS's model has no place for a status or header (206 for a range), return `Answer`. Handlers raise
`trimtab.errors` or `AwsError`. The table of supported operations (docs/operations.md) is made of these declarations.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol, TypeVar

from msgspec import Struct, field

from trimtab.aws.http import Body, HttpRequest
from trimtab.errors import TrimtabError
from trimtab.resources.routing import AccessKey


class AwsError(TrimtabError):
    """An error that only one AWS service knows: `NoSuchKey`, `PreconditionFailed`, `NoSuchEntity`, ...

    `code` and `message` are what the client sees. `extra` are further members of the error's body in AWS's spelling
    (`{"BucketName": "b"}`), `headers` further header fields of the answer. A status below 200 or of 304 has no body.
    """

    reason = "AwsError"

    def __init__(
        self,
        code: str,
        message: str = "",
        status: int = 400,
        extra: Mapping[str, Any] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message
        self.status = status
        self.extra = dict(extra or {})
        self.headers = list(headers)


class Call(Struct, frozen=True, kw_only=True):
    """Who calls what. `identity` is None for anonymous S3 calls and under `--auth none`."""

    request: HttpRequest
    service: str  # botocore's name: `sagemaker`, `s3`, `sts`, ...
    operation: str  # AWS's name: `CreateModel`
    request_id: str
    region: str
    account: str
    identity: AccessKey | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """A result with what the model has no place for. `status` 0 means: as the model says.

    `large`: it takes long to write down."""

    result: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    large: bool = False


Result = dict[str, Any] | Answer
OperationHandler = Callable[[Call, dict[str, Any]], Awaitable[Result] | Result]
Handlers = Mapping[str, Mapping[str, OperationHandler]]  # service -> operation -> handler


class Verified(Protocol):
    """What authentication found: whose key (None: nobody's), and the body with its framing and hash checked."""

    @property
    def key(self) -> AccessKey | None:
        """The key that signed."""
        ...

    @property
    def body(self) -> Body:
        """The request's body, decoded; reading it raises Denied when its hash is not the signed one."""
        ...


Authenticate = Callable[[HttpRequest, str], Awaitable[Verified]]  # (request, service); raises errors.Denied


class Declaration(Struct, frozen=True, kw_only=True):
    """An operation that is served. `missing` says what of AWS's behaviour is not there; empty: it works."""

    service: str
    operation: str
    missing: str = ""


_MARK = "__trimtab_operation__"
F = TypeVar("F", bound=Callable[..., Any])


def operation(service: str, name: str, *, missing: str = "") -> Callable[[F], F]:
    """Declare that the decorated function or method serves `name` of `service` (botocore's service name)."""

    def mark(function: F) -> F:
        setattr(function, _MARK, Declaration(service=service, operation=name, missing=missing))
        return function

    return mark


def handlers_of(owner: object) -> dict[str, dict[str, OperationHandler]]:
    """The declared handlers of an instance (bound methods) or of a module (functions), by service and operation.

    Raises ValueError when an operation is declared twice.
    """
    found: dict[str, dict[str, OperationHandler]] = {}
    for name in dir(owner) if isinstance(owner, ModuleType) else dir(type(owner)):
        declaration = getattr(getattr(owner if isinstance(owner, ModuleType) else type(owner), name), _MARK, None)
        if isinstance(declaration, Declaration):
            _add(found, declaration.service, declaration.operation, getattr(owner, name))
    return found


def declarations_of(owner: object) -> list[Declaration]:
    """The declarations of a class, an instance or a module (its functions and its own classes), in name order."""
    found: list[Declaration] = []
    for name in dir(owner):
        member = getattr(owner, name, None)
        declaration = getattr(member, _MARK, None)
        if isinstance(declaration, Declaration):
            found.append(declaration)
        elif isinstance(owner, ModuleType) and isinstance(member, type) and member.__module__ == owner.__name__:
            found.extend(declarations_of(member))
    return found


def merge(*parts: Handlers) -> dict[str, dict[str, OperationHandler]]:
    """One mapping of several parts' handlers. Raises ValueError when two serve the same operation."""
    merged: dict[str, dict[str, OperationHandler]] = {}
    for part in parts:
        for service, operations in part.items():
            for name, handler in operations.items():
                _add(merged, service, name, handler)
    return merged


def declared(handlers: Handlers) -> Iterable[tuple[str, str]]:
    """The (service, operation) pairs of a mapping."""
    return ((service, name) for service, operations in handlers.items() for name in operations)


def _add(into: dict[str, dict[str, OperationHandler]], service: str, name: str, handler: OperationHandler) -> None:
    operations = into.setdefault(service, {})
    if name in operations:
        raise ValueError(f"{service}:{name} has two handlers")
    operations[name] = handler
