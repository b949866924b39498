"""Which exceptions of a model's code mean that memory was too small."""

import pytest

from trimtab.worker.faults import fault_of, hugging_face_fault_of, is_out_of_memory


class OutOfMemoryError(RuntimeError):
    """As torch.OutOfMemoryError and cupy's."""


class CudaOutOfMemory(OutOfMemoryError):
    """A subclass of it."""


class RuntimeException(Exception):
    """As onnxruntime's."""

    __module__ = "onnxruntime.capi.onnxruntime_pybind11_state"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        CudaOutOfMemory(),
        RuntimeException("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 123"),
    ],
)
def test_too_little_memory_is_507_whoever_says_it(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert fault_of(error).status == 507
    assert hugging_face_fault_of(error).status == 507


@pytest.mark.parametrize(
    "error", [ValueError("Failed to allocate memory"), RuntimeException("wrong shape"), RuntimeError("out of memory")]
)
def test_what_only_sounds_like_it_is_not(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert fault_of(error).status == 500
