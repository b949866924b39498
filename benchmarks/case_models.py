"""The models of `case_study.py` and `hot_beside.py`: real artifacts of three use cases, made here without downloads.

fraud       payments, learnt from examples/fraud: boosted trees as ONNX, XGBoost, LightGBM, a scikit-learn forest
documents   classes of documents by 64 features of their layout (generated): scikit-learn's boosted trees and forests
search      sentence embeddings: a transformer of MiniLM's shape (6 layers of 384, 12 heads, 30,522 words; 91 MB of
            weights) as ONNX, and fine-tuned variants of it. Its weights are random: it costs what MiniLM costs to
            load, keep and run, and its answers mean nothing
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from trimtab.testing.artifacts import archive

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "fraud"))
import train as payments  # type: ignore[import-not-found]

LAYERS, WIDTH, HEADS, INNER, WORDS, LONGEST = 6, 384, 12, 1536, 30_522, 512
TOKENS = 32  # in a sentence that is asked about
FEATURES, CLASSES = 64, 4


class CaseModel(Struct, frozen=True, kw_only=True):
    """A model as a client sees it."""

    name: str
    use: str
    kind: str
    archive: bytes
    body: bytes
    hot: bool = False


def fraud(name: str, kind: str, seed: int, *, hot: bool = False) -> CaseModel:
    """`kind`: onnx, xgboost, lightgbm or forest."""
    make: dict[str, Callable[[int], bytes]] = {
        "onnx": _boosted_onnx,
        "xgboost": _xgboost,
        "lightgbm": _lightgbm,
        "forest": _forest,
    }
    body = json.dumps([[round(float(x), 3) for x in _payments().features[seed]]]).encode()
    return CaseModel(name=name, use="fraud", kind=kind, archive=make[kind](seed), body=body, hot=hot)


def documents(name: str, kind: str, seed: int, *, hot: bool = False) -> CaseModel:
    """`kind`: boosted or forest."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    layouts = rng.normal(size=(3000, FEATURES)).astype(np.float32)
    classes = np.argmax(layouts @ rng.normal(size=(FEATURES, CLASSES)) + rng.normal(size=(3000, CLASSES)), axis=1)
    maker = {
        "boosted": lambda: HistGradientBoostingClassifier(max_iter=40, random_state=seed),
        "forest": lambda: RandomForestClassifier(120, random_state=seed, n_jobs=1),
    }[kind]
    body = json.dumps([[round(float(x), 3) for x in layouts[0]]]).encode()
    with threadpool_limits(1):
        packed = archive(model_joblib=_dumped(maker().fit(layouts, classes)))
    return CaseModel(name=name, use="documents", kind=kind, archive=packed, body=body, hot=hot)


def search(name: str, seed: int, *, hot: bool = False) -> CaseModel:
    """A sentence encoder; another seed, other weights."""
    ids = np.random.default_rng(seed).integers(999, WORDS, size=(1, TOKENS)).tolist()
    made = archive(model_onnx=encoder(seed))
    return CaseModel(name=name, use="search", kind="encoder", archive=made, body=json.dumps(ids).encode(), hot=hot)


def eleven() -> list[CaseModel]:
    """Those of the case study: three hot, eight cold."""
    return [
        fraud("fraud-eu", "onnx", 1, hot=True),
        fraud("fraud-us", "xgboost", 2),
        fraud("fraud-asia", "lightgbm", 3),
        fraud("fraud-trial", "forest", 4),
        documents("documents-invoices", "boosted", 5, hot=True),
        documents("documents-orders", "forest", 6),
        documents("documents-receipts", "forest", 7),
        search("search-base", 8, hot=True),
        search("search-legal", 9),
        search("search-medical", 10),
        search("search-help", 11),
    ]


@cache
def _payments() -> Any:
    learn, _ = payments.load()
    return learn


def _share(seed: int) -> Any:
    """Half of all payments, another one for each seed."""
    learn = _payments()
    half = np.random.default_rng(seed).permutation(len(learn.fraud))[: len(learn.fraud) // 2]
    return payments.Payments(learn.features[half], learn.fraud[half])


def _boosted_onnx(seed: int) -> bytes:
    return archive(model_onnx=payments.train(_share(seed)))


def _xgboost(seed: int) -> bytes:
    import xgboost

    share = _share(seed)
    settings = {"objective": "binary:logistic", "max_depth": 8, "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(share.features, share.fraud), 300)
    return archive(model_ubj=bytes(booster.save_raw("ubj")))


def _lightgbm(seed: int) -> bytes:
    import lightgbm

    share = _share(seed)
    settings = {"objective": "binary", "verbosity": -1, "num_leaves": 127, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(share.features, share.fraud), 200)
    return archive(model_txt=booster.model_to_string())


def _forest(seed: int) -> bytes:
    from sklearn.ensemble import RandomForestClassifier

    share = _share(seed)
    return archive(
        model_joblib=_dumped(RandomForestClassifier(150, random_state=seed).fit(share.features, share.fraud))
    )


def _dumped(model: Any) -> bytes:
    import joblib

    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


def encoder(seed: int) -> bytes:
    """A transformer's encoder, BERT's layers in MiniLM's shape: [n, tokens] word numbers to [n, 384], the mean."""
    from onnx import TensorProto, helper, numpy_helper

    graph = _Graph(np.random.default_rng(seed))
    words = graph.weights("words", (WORDS, WIDTH))
    places = graph.add("Slice", graph.weights("places", (LONGEST, WIDTH)), graph.numbers([0]), graph.numbers([TOKENS]))
    at = graph.norm(graph.add("Add", graph.add("Gather", words, "ids"), places))
    for _ in range(LAYERS):
        at = graph.norm(graph.add("Add", at, graph.attention(at)))
        inner = graph.linear(at, WIDTH, INNER)
        gelu = graph.add("Mul", inner, graph.add("Sigmoid", graph.add("Mul", inner, graph.number(1.702))))
        at = graph.norm(graph.add("Add", at, graph.linear(gelu, INNER, WIDTH)))
    graph.nodes.append(helper.make_node("ReduceMean", [at], ["mean"], axes=[1], keepdims=0))
    ends = (
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", TOKENS])],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["n", WIDTH])],
    )
    made = helper.make_graph(
        graph.nodes, "encoder", *ends, [numpy_helper.from_array(array, name) for name, array in graph.arrays.items()]
    )
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(made, opset_imports=[opset], ir_version=9).SerializeToString())


class _Graph:
    """Nodes and weights under way."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(self, array: np.ndarray, name: str = "") -> str:
        name = name or f"c{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def weights(self, name: str, shape: tuple[int, ...]) -> str:
        return self.constant((self.rng.standard_normal(shape, np.float32) * 0.02).astype(np.float32), name)

    def numbers(self, values: list[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def linear(self, at: str, width: int, to: int) -> str:
        product = self.add("MatMul", at, self.weights(f"w{len(self.arrays)}", (width, to)))
        return self.add("Add", product, self.constant(np.zeros(to, np.float32)))

    def norm(self, at: str) -> str:
        ones, zeros = self.constant(np.ones(WIDTH, np.float32)), self.constant(np.zeros(WIDTH, np.float32))
        return self.add("LayerNormalization", at, ones, zeros, axis=-1)

    def attention(self, at: str) -> str:
        split = self.numbers([0, TOKENS, HEADS, WIDTH // HEADS])
        q, k, v = (self.add("Reshape", self.linear(at, WIDTH, WIDTH), split) for _ in range(3))
        scores = self.add(
            "MatMul",
            self.add("Transpose", q, perm=[0, 2, 1, 3]),
            self.add("Transpose", k, perm=[0, 2, 3, 1]),
        )
        scale = self.number(float((WIDTH // HEADS) ** -0.5))
        weights = self.add("Softmax", self.add("Mul", scores, scale), axis=-1)
        mixed = self.add("MatMul", weights, self.add("Transpose", v, perm=[0, 2, 1, 3]))
        joined = self.add("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.linear(self.add("Reshape", joined, self.numbers([0, TOKENS, WIDTH])), WIDTH, WIDTH)
