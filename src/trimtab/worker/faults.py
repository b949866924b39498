"""From an exception in a model's code to the error that its container would have answered."""

from __future__ import annotations

import struct
import traceback
from typing import Any

import msgspec

from trimtab.wire.frames import FailureMeta, Kind, pack
from trimtab.worker.answers import Fault

_encode = msgspec.msgpack.Encoder().encode
OUT_OF_MEMORY = 507  # what multi-model containers answer: unload something, or use a larger instance


def fault_of(error: BaseException) -> Fault:
    """HTTP 500 with message and traceback, as sagemaker-inference-toolkit answers; out of memory: 507.

    Exceptions of that toolkit's own family (they carry `status_code` and `message`) keep their status. A handler that
    calls sys.exit fails its request; the worker goes on.
    """
    if isinstance(error, Fault):
        return error
    trace = "".join(traceback.format_exception(error))
    if is_out_of_memory(error):
        return Fault(OUT_OF_MEMORY, f"The model ran out of memory while it answered. {said(error)}\n{trace}")
    if isinstance(error, SystemExit):
        return Fault(500, f"The model's code called sys.exit({error.code!r}) while it answered.\n{trace}")
    status, message = _attribute(error, "status_code"), _attribute(error, "message")
    if not isinstance(status, int) or not 400 <= status <= 599:
        status = 500
    return Fault(status, f"{message if isinstance(message, str) else said(error)}\n{trace}")


def _attribute(error: BaseException, name: str) -> Any:
    """An attribute that an exception may have; None also where it is computed and that fails."""
    try:
        return getattr(error, name, None)
    except Exception:  # noqa: BLE001 the model's code again: its first failure is the one to tell
        return None


def failure_frame(stream: int, fault: Fault) -> bytes:
    """A FAILURE as it travels. Headers that cannot (no text, or longer than a frame's) are left out."""
    try:
        meta = _encode(FailureMeta(fault.status, fault.content_type, fault.custom_attributes))
        return pack(Kind.FAILURE, stream, meta, bytes(fault.body))
    except (struct.error, ValueError, OverflowError):
        return pack(Kind.FAILURE, stream, _encode(FailureMeta()), bytes(fault.body))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine's memory or a GPU's was too small: Python's own error, and those of the libraries that have
    theirs (torch and cupy: a class OutOfMemoryError; ONNX Runtime: words)."""
    if isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return type(error).__module__.startswith("onnxruntime") and "Failed to allocate memory" in said(error)


def said(error: BaseException) -> str:
    """`str(error)`, also where the exception's own `__str__` raises."""
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 the model's code again
        return f"{type(error).__name__}, which cannot be printed: {type(worse).__name__}"


def hugging_face_fault_of(error: BaseException) -> Fault:
    """Hugging Face's toolkit answers HTTP 400 to any exception of a handler, so that 424 says "client error"."""
    import json

    if is_out_of_memory(error):
        return fault_of(error)
    text = json.dumps({"code": 400, "type": "InternalServerException", "message": said(error)})
    return Fault(400, text, content_type="application/json")
