"""Models for tests of multi-model endpoints: real ones of several frameworks, and scripts that misbehave."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from trimtab.testing.artifacts import archive, script


def named(answer: str) -> bytes:
    """A script whose model answers `answer`, whatever it is asked."""
    return script(f"""
    ANSWER = {answer!r}

    def model_fn(model_dir):
        return None

    def transform_fn(model, body, content_type, accept):
        return ANSWER, "text/plain"
    """)


def rows_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """A small, separable data set of four features."""
    random = np.random.default_rng(7)
    rows = random.normal(size=(200, 4)).astype(np.float32)
    return rows, (rows.sum(axis=1) > 0).astype(int)


def trained() -> dict[str, tuple[bytes, np.ndarray]]:
    """By TargetModel: an artifact, and what the library itself answers to the first three rows."""
    import joblib
    import lightgbm
    import xgboost
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows, labels = rows_and_labels()
    linear = LogisticRegression().fit(rows, labels)
    packed = io.BytesIO()
    joblib.dump(linear, packed)
    boosted = xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(rows, labels), num_boost_round=3)
    light = lightgbm.train(
        {"verbosity": -1, "num_threads": 1, "objective": "binary"}, lightgbm.Dataset(rows, labels), num_boost_round=3
    )
    graph = to_onnx(linear, rows[:1], options={id(linear): {"zipmap": False}}, target_opset=17)
    asked = rows[:3]
    return {
        "sklearn.tar.gz": (archive(model_joblib=packed.getvalue()), linear.predict(asked)),
        "team/xgboost.tar.gz": (
            archive(model_ubj=bytes(boosted.save_raw("ubj"))),
            boosted.predict(xgboost.DMatrix(asked)),
        ),
        "team/lightgbm.tar.gz": (archive(model_txt=light.model_to_string()), np.asarray(light.predict(asked))),
        "onnx.tar.gz": (archive(model_onnx=graph.SerializeToString()), linear.predict(asked)),
        "script.tar.gz": (
            archive(
                code__inference_py="""
                import json, os, pickle

                def model_fn(model_dir):
                    with open(os.path.join(model_dir, "weights.pkl"), "rb") as file:
                        return pickle.load(file)

                def transform_fn(model, body, content_type, accept):
                    return json.dumps([sum(x * w for x, w in zip(row, model)) for row in json.loads(body)])
                """,
                weights_pkl=pickle.dumps([1.0, 2.0, 3.0, 4.0]),
            ),
            asked @ np.array([1.0, 2.0, 3.0, 4.0]),
        ),
    }


def first(answer: Any) -> np.ndarray:
    """The numbers of an answer that may hold labels and probabilities: labels."""
    if isinstance(answer, dict):
        answer = next(iter(answer.values()))
    found = np.asarray(answer, dtype=float)
    return found.reshape(len(found), -1)[:, 0] if found.ndim > 1 else found
