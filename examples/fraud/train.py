"""Train the fraud model on real card payments and pack it as SageMaker wants it: `model.tar.gz` with `model.onnx` inside.

python examples/fraud/train.py [FOLDER]      writes FOLDER/model.tar.gz (default: the current folder)
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data" / "creditcard_sample.csv.gz"
FEATURES = [f"V{i}" for i in range(1, 29)] + ["Amount"]  # not Time: most legitimate rows are from the first 76 minutes
SEED = 7


@dataclass(frozen=True)
class Payments:
    """Rows of features (float32, shape [n, 29]) and whether each was a fraud (int, shape [n])."""

    features: np.ndarray
    fraud: np.ndarray


def load() -> tuple[Payments, Payments]:
    """The real payments, split 70:30 into those to learn from and those to test on, with the same share of frauds."""
    from sklearn.model_selection import train_test_split

    with gzip.open(DATA, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    features = np.array([[float(row[name]) for name in FEATURES] for row in rows], np.float32)
    fraud = np.array([int(row["Class"]) for row in rows])
    x_learn, x_test, y_learn, y_test = train_test_split(
        features, fraud, test_size=0.3, stratify=fraud, random_state=SEED
    )
    return Payments(x_learn, y_learn), Payments(x_test, y_test)


def train(payments: Payments) -> bytes:
    """Gradient boosted trees as an ONNX model: input [n, 29] float32, output [n, 2] probabilities (fraud is column 1)."""
    from skl2onnx import to_onnx
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=SEED)
    model.fit(payments.features, payments.fraud)
    graph = to_onnx(model, payments.features[:1], options={id(model): {"zipmap": False}}, target_opset=17)
    return select_model_inputs_outputs(graph, outputs=["probabilities"]).SerializeToString()


def pack(onnx: bytes, folder: Path) -> Path:
    """Write `folder/model.tar.gz` holding `model.onnx` at its root, where SageMaker containers look for it."""
    path = folder / "model.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("model.onnx")
        member.size = len(onnx)
        archive.addfile(member, io.BytesIO(onnx))
    return path


if __name__ == "__main__":
    learn, _ = load()
    print(pack(train(learn), Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
