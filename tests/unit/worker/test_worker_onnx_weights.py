"""A large ONNX file's weights are mapped, not read: the same answers, and nothing else than what is safe."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from trimtab.worker.models import onnx_weights
from trimtab.worker.models.onnx import OnnxModel, session_options
from trimtab.worker.models.onnx_weights import LEAST_FILE_BYTES, referring

WIDTH = 1536  # float32 of this width and height: 9.4 MB
CPU = {"TRIMTAB_ONNX_PROVIDERS": "CPUExecutionProvider"}


def weights(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(7).normal(scale=0.02, size=shape).astype(dtype)


def content(
    nodes, tensors, x=("x", TensorProto.FLOAT, ["n", WIDTH]), y=("y", TensorProto.FLOAT, None), doc=""
) -> bytes:
    """A model; `doc` shifts where its weights lie."""
    initializers = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    ends = [[helper.make_tensor_value_info(*end)] for end in (x, y)]
    graph = helper.make_graph(nodes, "g", *ends, initializers, doc_string="")
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, doc_string=doc).SerializeToString()


def product(doc: str = "", dtype: type = np.float32) -> bytes:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return content(nodes, {"w": weights(WIDTH, WIDTH, dtype=dtype)}, ("x", kind, ["n", WIDTH]), ("y", kind, None), doc)


def gemm(doc: str) -> bytes:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"], transB=1),
        helper.make_node("Relu", ["g"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    tensors = {"w": weights(WIDTH, WIDTH), "b": weights(WIDTH), "v": weights(WIDTH, WIDTH)}
    return content(nodes, tensors, doc=doc)


def convolution(doc: str) -> bytes:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Conv", ["r", "u"], ["y"], kernel_shape=[1, 1]),
    ]
    one = {name: np.abs(weights(512)) for name in "sbmv"}
    tensors = {"w": weights(512, 512, 3, 3), "u": weights(512, 512, 1, 1), **one}
    return content(nodes, tensors, ("x", TensorProto.FLOAT, ["n", 512, 5, 5]), doc=doc)


def embedding(doc: str) -> bytes:
    nodes = [helper.make_node("Gather", ["w", "x"], ["y"])]
    return content(nodes, {"w": weights(40_000, 64)}, ("x", TensorProto.INT64, ["n", 3]), doc=doc)


def whole(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), session_options(onnxruntime, {}), providers=["CPUExecutionProvider"])


def asked(session: onnxruntime.InferenceSession, rows: int) -> np.ndarray:
    shape = [rows, *session.get_inputs()[0].shape[1:]]
    draw = np.random.default_rng(rows)
    is_numbers = session.get_inputs()[0].type == "tensor(float)"
    x = draw.normal(size=shape).astype(np.float32) if is_numbers else draw.integers(0, 40_000, shape)
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("make", [product, gemm, convolution, embedding])
def test_answers_are_the_same_to_the_bit_wherever_in_the_file_the_weights_lie(tmp_path, capfd, make):
    places = set()
    for shift in range(8):
        path = tmp_path / "model.onnx"
        path.write_bytes(make("d" * (1 + shift)))
        found = referring(path.read_bytes(), path.name)
        assert found is not None
        assert len(found) < 64 * 1024
        places |= {offset(tensor) % 8 for tensor in onnx.load_from_string(found).graph.initializer}
        mapped = OnnxModel(path, CPU).native
        for rows in (1, 5):
            assert asked(mapped, rows).tobytes() == asked(whole(path), rows).tobytes()
    assert places >= set(range(8))
    assert "read whole" not in capfd.readouterr().out


def offset(tensor) -> int:
    return next((int(entry.value) for entry in tensor.external_data if entry.key == "offset"), 0)


def test_weights_that_are_looked_up_stay_mapped_from_the_artifact(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(embedding(""))
    model = OnnxModel(path, CPU)
    assert str(path) in Path("/proc/self/maps").read_text()
    del model
    assert str(path) not in Path("/proc/self/maps").read_text()


@settings(max_examples=25, deadline=None)
@given(doc=st.text(max_size=40), name=st.text("abcxyz ä", min_size=1, max_size=20).map(lambda stem: stem + ".onnx"))
def test_a_model_that_refers_to_its_file_is_the_model(tmp_path_factory, doc, name):
    folder = tmp_path_factory.mktemp("m")
    saved = product(doc)
    (folder / name).write_bytes(saved)
    found = referring(memoryview(saved), name)
    assert found is not None
    assert len(found) < 64 * 1024
    model = onnx.load_from_string(found)
    load_external_data_for_model(model, str(folder))
    for tensor in model.graph.initializer:
        tensor.ClearField("data_location")
    assert model == onnx.load_from_string(saved)


def test_a_small_file_is_left_alone():
    assert referring(content([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weights(WIDTH, 8)}), "m") is None


def body(name: str) -> onnx.GraphProto:
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node("Identity", [name], ["o"])], "body", [], [out])


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [helper.make_node("MatMul", ["w", "x"], ["y"])],
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "w"], ["y"])],
        [helper.make_node("MatMul", ["x", "w"], ["y"], domain="com.example")],
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("If", ["c"], ["y"], then_branch=body("m"), else_branch=body("w")),
        ],
    ],
    ids=["another operator", "another place", "another use as well", "another domain", "a body"],
)
def test_weights_that_are_used_in_other_ways_stay_in_the_model(nodes):
    assert referring(content(nodes, {"w": weights(WIDTH, WIDTH)}), "model.onnx") is None


def test_weights_of_other_types_stay_in_the_model():
    assert referring(product(dtype=np.float64), "model.onnx") is None


def test_weights_that_lie_in_another_file_already_are_left_there():
    saved = onnx.load_from_string(product())
    onnx.external_data_helper.set_external_data(saved.graph.initializer[0], "weights.bin")
    assert referring(saved.SerializeToString(), "model.onnx") is None


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_is_cut_short_or_no_model_at_all_is_left_to_onnxruntime(data):
    saved = product()
    end = data.draw(st.integers(LEAST_FILE_BYTES, len(saved) - 1))
    assert referring(saved[:end], "model.onnx") is None
    start = data.draw(st.binary(max_size=64))
    referring(start + saved[len(start) : LEAST_FILE_BYTES + 99], "model.onnx")  # raises nothing


def test_a_model_whose_weights_cannot_be_mapped_is_read_whole_and_says_so(tmp_path, capfd, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(product())
    moved = onnx_weights._moved
    monkeypatch.setattr(onnx_weights, "_moved", lambda model, tensor, data, name: moved(model, tensor, data, b"gone"))
    model = OnnxModel(path, CPU)
    assert asked(model.native, 2).tobytes() == asked(whole(path), 2).tobytes()
    assert "trimtab: model.onnx is read whole, as its weights cannot be mapped: " in capfd.readouterr().out


def test_a_large_file_that_is_no_model_fails_as_a_small_one_does(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(os.urandom(LEAST_FILE_BYTES + 1))
    with pytest.raises(Exception, match=r"model\.onnx"):
        OnnxModel(path, CPU)
