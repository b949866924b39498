"""The one taxonomy of failures. Whose fault it is decides the class; `aws/faults.py` maps it to AWS shapes.

    TrimtabError
      RequestError   the caller's: the same call fails again
      Unavailable    ours, for now: try again in `retry_after_s`
      ModelFailed    the customer's code: its status and text are kept (ModelOutOfMemory: it had too little memory)
      Broken         an invariant of ours does not hold: ends the request, never the loop

Messages say what was wrong and what to do next. They hold no ARNs and no AWS shape names: those begin in `aws`.
"""

from __future__ import annotations

from typing import ClassVar


class TrimtabError(Exception):
    """Base of every failure that trimtab names."""

    reason: ClassVar[str] = "Error"  # one stable word: log field, metric label, test


class RequestError(TrimtabError):
    """The caller's fault: the same call will fail again."""

    reason = "RequestError"


class Invalid(RequestError):
    """A value is missing, malformed, out of range or contradicts another."""

    reason = "Invalid"


class TargetModelMissing(Invalid):
    """An invocation of a multi-model endpoint names no model. AWS's words, with the request's id, stand in `aws`."""

    def __init__(self) -> None:
        super().__init__("The request is missing a target model header.")


class TargetModelRefused(Invalid):
    """An invocation names a model, but the endpoint (or the variant of it) holds one model a replica."""

    def __init__(self, endpoint: str, variant: str = "") -> None:
        where = f"Variant {variant} of endpoint {endpoint}" if variant else f"Endpoint {endpoint}"
        # AWS's words.
        super().__init__(f"{where} is not a multi-model endpoint and does not support target model header.")


class NotFound(RequestError):
    """`name` does not exist. `kind` is `model`, `endpoint`, `endpoint-config`, `variant`, `bucket`, ..."""

    reason = "NotFound"

    def __init__(self, kind: str, name: str, message: str = "") -> None:
        super().__init__(message or f"There is no {kind} named {name!r}.")
        self.kind = kind
        self.name = name


class AlreadyExists(RequestError):
    """`name` is taken."""

    reason = "AlreadyExists"

    def __init__(self, kind: str, name: str, message: str = "") -> None:
        super().__init__(message or f"There is already a {kind} named {name!r}.")
        self.kind = kind
        self.name = name


class InUse(RequestError):
    """`name` cannot be changed now: a change is under way, or something still needs it."""

    reason = "InUse"

    def __init__(self, kind: str, name: str, message: str = "") -> None:
        super().__init__(message or f"The {kind} {name!r} is in use.")
        self.kind = kind
        self.name = name


class LimitExceeded(RequestError):
    """More than trimtab (or the machine's owner) allows."""

    reason = "LimitExceeded"


class TooLarge(RequestError):
    """A body, header or archive is over its limit of `limit_bytes`."""

    reason = "TooLarge"

    def __init__(self, message: str, *, limit_bytes: int) -> None:
        super().__init__(message)
        self.limit_bytes = limit_bytes


class Denied(RequestError):
    """Who calls is unknown, not proven, or not allowed to. `code` says which (see `aws/faults.py`)."""

    reason = "Denied"

    def __init__(self, message: str, *, code: str = "AccessDenied") -> None:
        super().__init__(message)
        self.code = code


class NotSupported(RequestError):
    """AWS has it, trimtab does not. `operation` is AWS's name for it; docs/operations.md is the list."""

    reason = "NotSupported"

    def __init__(self, operation: str, message: str = "") -> None:
        super().__init__(message or f"trimtab does not support {operation}. docs/operations.md lists what it supports.")
        self.operation = operation


class Unavailable(TrimtabError):
    """Not now: the same call may succeed in `retry_after_s` seconds."""

    reason = "Unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NoCapacity(Unavailable):
    """The machine has no room for another replica, or no healthy replica is left."""

    reason = "NoCapacity"


class QueueFull(Unavailable):
    """The variant's bounded queue is full: the request was refused before any work was done on it."""

    reason = "QueueFull"


class NotReady(Unavailable):
    """The replica or model is still on its way."""

    reason = "NotReady"


class ReplicaLost(Unavailable):
    """The replica died with this request in its hands; whether it had an effect there is not known."""

    reason = "ReplicaLost"


class ModelFailed(TrimtabError):
    """The customer's model answered an error, ran out of time, or could not be loaded.

    `status` is the HTTP status the model server answered; 0 means that it did not answer in time.
    `body` is what it said, unchanged.
    """

    reason = "ModelFailed"

    def __init__(self, message: str, *, status: int = 500, body: bytes = b"", content_type: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.content_type = content_type


class ModelOutOfMemory(ModelFailed):
    """The model ran out of memory while it answered: it said so with HTTP 507, as multi-model containers do."""

    reason = "OutOfMemory"


def model_answered(status: int, body: bytes, content_type: str = "") -> ModelFailed:
    """The error that a model server's answer with an error `status` is."""
    kind = ModelOutOfMemory if status == 507 else ModelFailed
    return kind(body.decode("utf-8", "replace"), status=status, body=body, content_type=content_type)


class Broken(TrimtabError):
    """An invariant of trimtab does not hold. A bug: logged with its traceback, answered without it."""

    reason = "Broken"
