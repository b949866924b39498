"""What a worker's start does for the first time, done ahead with a model of nobody's, in a process that waits.

Most of what a model's load costs a freshly forked process is the memory that it touches first: each page is copied
(about 1,000 of them for an ONNX session: 4 of its 5 ms). A process that has done it once does the next in one.
"""

from __future__ import annotations

import faulthandler
import gc
import io
import os
import selectors
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from trimtab import allocator, logfile, newborn
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Runtime
from trimtab.wire.frames import RequestMeta
from trimtab.worker import environment, loading, media, process
from trimtab.worker.failures import StartFailed
from trimtab.worker.report import Report
from trimtab.worker.serve import Loop

# ONNX: y = Sigmoid(x @ w), x of shape (n, 2), w the identity; p: a tree of two leaves. Opsets 13, and 1 of ai.onnx.ml.
_ONNX = bytes.fromhex(
    "08083a95050a110a01780a017712016d22064d61744d756c0a0f0a016d12017922075369676d6f69640a8c040a017812016c120170221654"
    "726565456e73656d626c65436c61737369666965722a150a0b626173655f76616c7565733d00000000a001062a120a09636c6173735f6964"
    "7340014001a001072a160a0d636c6173735f6e6f646569647340014002a001072a160a0d636c6173735f7472656569647340004000a00107"
    "2a1c0a0d636c6173735f776569676874733d0000803e3d0000403fa001062a1b0a12636c6173736c6162656c735f696e7436347340004001"
    "a001072a1d0a126e6f6465735f66616c73656e6f6465696473400240004000a001072a1b0a106e6f6465735f666561747572656964734000"
    "40004000a001072a220a0e6e6f6465735f68697472617465733d0000803f3d0000803f3d0000803fa001062a2a0a1f6e6f6465735f6d6973"
    "73696e675f76616c75655f747261636b735f74727565400040004000a001072a280a0b6e6f6465735f6d6f6465734a0a4252414e43485f4c"
    "45514a044c4541464a044c454146a001082a180a0d6e6f6465735f6e6f6465696473400040014002a001072a180a0d6e6f6465735f747265"
    "65696473400040004000a001072a1c0a116e6f6465735f747275656e6f6465696473400140004000a001072a200a0c6e6f6465735f76616c"
    "7565733d000000003d000000003d00000000a001062a1d0a0e706f73745f7472616e73666f726d22084c4f474953544943a001033a0a6169"
    "2e6f6e6e782e6d6c1201672a1b0802080210014201774a100000803f00000000000000000000803f5a140a0178120f0a0d080112090a0312"
    "016e0a02080262140a0179120f0a0d080112090a0312016e0a02080262140a0170120f0a0d080112090a0312016e0a02080242040a00100d"
    "420e0a0a61692e6f6e6e782e6d6c1001"
)
_CPU = "CPUExecutionProvider"
_BODY = b"[[0.5, -0.5]]"
_HEAP_BYTES = 2**20  # what a small model takes of the heap; each of its pages costs 5 us when it is touched first
_PIECE_BYTES = 64 * 1024  # not so large that the C library maps it apart, where it would not stay


def rehearse() -> None:
    """Load, warm up and ask a small model of each runtime that this process has imported. Nothing of it is kept.

    Runs on this thread alone and asks for no GPU; the model's environment comes later, and is not looked at.
    """
    allocator.keep_freed_memory()
    _begin()
    if "onnxruntime" in sys.modules:
        _onnx()
    if {"joblib", "sklearn.tree"} <= sys.modules.keys():
        _pickled()
    if (torch_warm := sys.modules.get("trimtab.worker.flavors.torch_warm")) is not None:
        torch_warm.rehearse()
    gc.collect()
    _touch_heap()


def _touch_heap() -> None:
    """Have pages at the heap's end that are this process's own; `keep_freed_memory` lets them stay."""
    pieces = [bytearray(_PIECE_BYTES) for _ in range(_HEAP_BYTES // _PIECE_BYTES)]
    del pieces


def _begin() -> None:
    """The first lines of a worker's life, with a launch that is nobody's."""
    spec = ReplicaSpec(id="", endpoint="", variant="", version="", model_name="", runtime=Runtime())
    spec = msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=ReplicaSpec)
    launch = WorkerLaunch(spec=msgspec.msgpack.encode(spec), socket_path="")
    launch = msgspec.msgpack.decode(msgspec.msgpack.encode(launch), type=WorkerLaunch)
    environment.model_environment(launch, spec)
    newborn.reset_signals()
    process.reseed()
    _write_log()
    with suppress(StartFailed):  # there is no artifact
        loading.recipe(launch, spec)
    faulthandler.enable(file=2)
    msgspec.msgpack.encode(Report(launch, spec.id).describe())
    Loop().forsake()
    selectors.DefaultSelector().close()
    thread = threading.Thread(target=time.monotonic, daemon=True)  # the C library keeps its stack for the next
    thread.start()
    thread.join()
    time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def _write_log() -> None:
    """A line in a log that is nobody's (and has no times: no file can be beside a descriptor)."""
    streams, copies = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
    file = os.memfd_create("log")
    try:
        log = logfile.capture(Path(f"/proc/self/fd/{file}"), _PIECE_BYTES)
        print("", file=sys.stderr, flush=True)
        log.close()
    finally:
        sys.stdout, sys.stderr = streams
        for number, copy in enumerate(copies, 1):
            os.dup2(copy, number)
        for descriptor in (*copies, file):
            os.close(descriptor)


def _pickled() -> None:
    """Trees as scikit-learn has them, pickled, loaded and asked: a third of what such a model's load costs a fresh fork
    is spared by that. On this thread alone, which an ensemble's fit would not be."""
    import joblib
    import numpy
    from sklearn.tree import DecisionTreeRegressor

    rows = numpy.eye(4, dtype=numpy.float32)
    file = io.BytesIO()
    joblib.dump([DecisionTreeRegressor(max_depth=1).fit(rows, rows[0]) for _ in range(8)], file)
    file.seek(0)
    joblib.load(file)[0].predict(rows)


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
