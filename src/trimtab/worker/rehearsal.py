"""What a worker's start does for the first time, done ahead with a model of nobody's, in a process that waits.

Most of what a model's load costs a freshly forked process is the memory that it touches first: each page is copied
(about 1,000 of them for an ONNX session: 4 of its 5 ms). A process that has done it once does the next in one.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import selectors
import sys
import threading
import time
from pathlib import Path

import msgspec

from trimtab import allocator, newborn
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Runtime
from trimtab.wire.frames import RequestMeta
from trimtab.worker import environment, media, process
from trimtab.worker.report import Report
from trimtab.worker.serve import Loop

# ONNX: y = Sigmoid(x @ w), x of shape (n, 2), w the identity. Opset 13.
_ONNX = bytes.fromhex(
    "080812003a700a110a01780a017712016d22064d61744d756c0a0f0a016d12017922075369676d6f69641201672a1b0802080210012210"
    "0000803f00000000000000000000803f4201775a140a0178120f0a0d080112090a0312016e0a02080262140a0179120f0a0d0801120"
    "90a0312016e0a02080242040a00100d"
)
_CPU = "CPUExecutionProvider"
_BODY = b"[[0.5, -0.5]]"


def rehearse() -> None:
    """Load, warm up and ask a small model of each runtime that this process has imported. Nothing of it is kept.

    Runs on this thread alone and asks for no GPU; the model's environment comes later, and is not looked at.
    """
    allocator.keep_freed_memory()
    _begin()
    if "onnxruntime" in sys.modules:
        _onnx()
    if (torch_warm := sys.modules.get("trimtab.worker.flavors.torch_warm")) is not None:
        torch_warm.rehearse()
    gc.collect()


def _begin() -> None:
    """The first lines of a worker's life, with a launch that is nobody's."""
    spec = ReplicaSpec(id="", endpoint="", variant="", version="", model_name="", runtime=Runtime())
    spec = msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=ReplicaSpec)
    launch = WorkerLaunch(spec=msgspec.msgpack.encode(spec), socket_path="")
    launch = msgspec.msgpack.decode(msgspec.msgpack.encode(launch), type=WorkerLaunch)
    environment.model_environment(launch, spec)
    newborn.reset_signals()
    process.reseed()
    faulthandler.enable(file=2)
    msgspec.msgpack.encode(Report(launch, spec.id).describe())
    Loop().forsake()
    selectors.DefaultSelector().close()
    thread = threading.Thread(target=time.monotonic, daemon=True)  # the C library keeps its stack for the next
    thread.start()
    thread.join()
    time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def _onnx() -> None:
    from trimtab.worker.models.onnx import OnnxModel
    from trimtab.worker.plain import PlainModel

    file = os.memfd_create("rehearsal")
    try:
        os.write(file, _ONNX)
        served = PlainModel(OnnxModel(Path(f"/proc/self/fd/{file}"), {"TRIMTAB_ONNX_PROVIDERS": _CPU}), media.JSON)
        served.warm()
        served.answer(_BODY, RequestMeta(content_type=media.JSON))
    finally:
        os.close(file)
