"""The models that every server is given, the rows they are asked about, and the right answers."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

SEED = 7
TOLERANCE = 2e-4  # of a prediction; float32, and batches of other sizes add up in another order
BATCHED = "mlp-batched"
ABOUT = {
    "echo": "the row comes back: the server alone",
    "fraud": "gradient boosted trees, 100 of depth 3, 30 features, as ONNX",
    "mlp": "multi-layer perceptron 512-2048-2048-512-1 (25 MB), as ONNX, one request at a time",
    BATCHED: "the same perceptron with dynamic batching: at most 32 rows, waiting at most 3 ms",
}
MAX_BATCH = 32
MAX_DELAY_MS = 3


@dataclass(frozen=True)
class Model:
    """One model of `ABOUT`. `rows` are what is asked; the first is the one that wrk sends."""

    name: str
    path: Path  # of the ONNX file; echo has none, and the path does not exist
    width: int  # numbers in a row
    outputs: int  # numbers in an answer

    @property
    def batched(self) -> bool:
        """Whether servers are to put requests together."""
        return self.name == BATCHED

    @property
    def kind(self) -> str:
        """echo, fraud or mlp."""
        return self.name.partition("-")[0]

    @cached_property
    def rows(self) -> list[list[float]]:
        """Eight different rows."""
        return _rows(self.width, 8, digits=4)

    @cached_property
    def answers(self) -> list[list[float]]:
        """What a right server says to `rows`, each asked alone."""
        if self.kind == "echo":
            return self.rows
        ask = session(self.path)
        return [ask([row])[0] for row in self.rows]

    def is_right(self, number: int, answer: list[float]) -> bool:
        """Whether `answer` is the prediction for row `number`."""
        wanted = self.answers[number]
        return len(answer) == len(wanted) and all(abs(a - w) <= TOLERANCE for a, w in zip(answer, wanted, strict=True))


def model(name: str, folder: Path) -> Model:
    """The model called `name`, its file made in `folder` if it is not there yet. Raises KeyError for an unknown name."""
    shapes = {"echo": (30, 30), "fraud": (30, 2), "mlp": (512, 1)}
    kind = name.partition("-")[0]
    if name not in ABOUT:
        raise KeyError(name)
    path = folder / f"{kind}.onnx"
    if kind != "echo" and not path.exists():
        made = {"fraud": _fraud, "mlp": _mlp}[kind]()
        fresh = path.with_suffix(".new")
        fresh.write_bytes(made)
        fresh.rename(path)
    return Model(name, path, *shapes[kind])


def session(path: Path) -> Any:
    """The model as a function of rows, as every server has it: onnxruntime, one thread that does not spin."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    found = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = found.get_inputs()[0].name
    return lambda rows: found.run(None, {name: np.asarray(rows, np.float32)})[0].tolist()


def payload(rows: list[list[float]]) -> bytes:
    """Rows as compact JSON."""
    return json.dumps(rows, separators=(",", ":")).encode()


def _rows(width: int, count: int, *, digits: int) -> list[list[float]]:
    import numpy as np

    made = np.random.default_rng(SEED).normal(size=(count, width))
    return [[round(float(x), digits) for x in row] for row in made]


def _fraud() -> bytes:
    """Payments that nobody made: 30 normal features, fraud where a few of them meet."""
    import numpy as np
    from skl2onnx import to_onnx
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
    from sklearn.ensemble import GradientBoostingClassifier

    random = np.random.default_rng(SEED)
    features = random.normal(size=(4000, 30)).astype(np.float32)
    fraud = features[:, 0] * features[:, 1] + features[:, 2] - features[:, 3] ** 2 + random.normal(size=4000) > 0.5
    trees = GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=SEED).fit(features, fraud)
    graph = to_onnx(trees, features[:1], options={id(trees): {"zipmap": False}}, target_opset=17)
    return bytes(select_model_inputs_outputs(graph, outputs=["probabilities"]).SerializeToString())


def _mlp() -> bytes:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(SEED)
    sizes = [512, 2048, 2048, 512, 1]
    nodes, weights, last = [], [], "rows"
    for i, (wide, next_wide) in enumerate(itertools.pairwise(sizes)):
        matrix = (random.normal(size=(wide, next_wide)) / np.sqrt(wide)).astype(np.float32)
        weights += [
            numpy_helper.from_array(matrix, f"w{i}"),
            numpy_helper.from_array(np.zeros(next_wide, np.float32), f"b{i}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"g{i}"]))
        last = f"g{i}"
        if i < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [last], [f"r{i}"]))
            last = f"r{i}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 512])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [None, 1])],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())
