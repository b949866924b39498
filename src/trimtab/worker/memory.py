"""Bytes made without being written twice."""

from __future__ import annotations

import ctypes

_allocate = ctypes.pythonapi.PyBytes_FromStringAndSize
_allocate.restype = ctypes.py_object
_allocate.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
_address = ctypes.pythonapi.PyBytes_AsString
_address.restype = ctypes.c_void_p
_address.argtypes = [ctypes.py_object]


def unfilled_bytes(size: int) -> tuple[bytes, memoryview]:
    """`size` bytes of anything, and a view to fill them through before anyone else sees them.

    The C API allows this for a fresh object (PyBytes_FromStringAndSize with NULL); it saves zeroing a bytearray and
    then copying it, since handlers are to get `bytes`. The view must not be used once the object is handed on.
    """
    body: bytes = _allocate(None, size)
    view = memoryview((ctypes.c_char * size).from_address(_address(body))).cast("B")
    return body, view
