"""Models on disk for `model_load.py`: of each library a typical one, and raw tensors by the gibibyte."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.birth import save_large_onnx, save_onnx, save_torchscript
from trimtab.resources.runtime import Flavor

_ROW = 64  # floats in a row of a table of raw tensors
_ROWS_IN_PAGE = 4096 // (4 * _ROW)


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a folder. Of raw tensors, `touch` reads every page of what `loaded` finds in the served model."""

    name: str
    folder: Path
    data: Path  # its large file
    library: Callable[[Path], Any] = lambda folder: None
    imports: tuple[str, ...] = ()
    flavor: Flavor = Flavor.PLAIN
    touch: Callable[[Any], object] | None = None
    loaded: Callable[[Any], Any] = lambda served: served

    @property
    def size_bytes(self) -> int:
        return self.data.stat().st_size


class Maker(msgspec.Struct, frozen=True):
    make: Callable[[Path, int], Saved]
    needs: tuple[str, ...] = ()


def _training(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(42)
    x = rng.normal(size=(rows, 30)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=rows) > 1).astype(int)


def _session(folder: Path) -> Any:
    """As the library's own documentation loads and asks a model, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    width = session.get_inputs()[0].shape[1]
    session.run(None, {session.get_inputs()[0].name: np.zeros((1, width), np.float32)})
    return session


def fraud(folder: Path, _: int) -> Saved:
    if not folder.exists():
        save_onnx(folder)
    return _onnx("onnx: fraud, 100 trees", folder)


def large(folder: Path, _: int) -> Saved:
    if not folder.exists():
        save_large_onnx(folder)
    return _onnx("onnx: 6 layers of 2048", folder)


def _onnx(name: str, folder: Path) -> Saved:
    imports = ("onnxruntime", "trimtab.worker.plain", "trimtab.worker.models.onnx")
    return Saved(name=name, folder=folder, data=folder / "model.onnx", library=_session, imports=imports)


def forest(folder: Path, _: int) -> Saved:
    import joblib
    from sklearn.ensemble import RandomForestClassifier

    if not folder.exists():
        folder.mkdir()
        model = RandomForestClassifier(200, random_state=1).fit(*_training(6000))
        joblib.dump(model, folder / "model.joblib")

    def library(at: Path) -> Any:
        return joblib.load(at / "model.joblib")

    imports = ("joblib", "sklearn.ensemble", "trimtab.worker.plain", "trimtab.worker.models.pickled")
    return Saved(
        name="sklearn: forest of 200", folder=folder, data=folder / "model.joblib", library=library, imports=imports
    )


def xgboost(folder: Path, _: int) -> Saved:
    import xgboost as xgb

    if not folder.exists():
        folder.mkdir()
        x, y = _training(6000)
        booster = xgb.train({"max_depth": 8, "nthread": 1}, xgb.DMatrix(x, y), num_boost_round=400)
        booster.save_model(folder / "model.ubj")

    def library(at: Path) -> Any:
        loaded = xgb.Booster(model_file=str(at / "model.ubj"))
        loaded.set_param({"nthread": 1})
        loaded.inplace_predict(np.zeros((1, 30), np.float32))
        return loaded

    imports = ("xgboost", "trimtab.worker.plain", "trimtab.worker.models.boosters")
    return Saved(name="xgboost: 400 trees", folder=folder, data=folder / "model.ubj", library=library, imports=imports)


def lightgbm(folder: Path, _: int) -> Saved:
    import lightgbm as lgb

    if not folder.exists():
        folder.mkdir()
        x, y = _training(6000)
        settings = {"num_leaves": 255, "verbose": -1, "num_threads": 1, "objective": "binary"}
        lgb.train(settings, lgb.Dataset(x, y), num_boost_round=400).save_model(folder / "model.txt")

    def library(at: Path) -> Any:
        loaded = lgb.Booster(model_file=str(at / "model.txt"))
        loaded.predict(np.zeros((1, 30)), num_threads=1)
        return loaded

    imports = ("lightgbm", "trimtab.worker.plain", "trimtab.worker.models.boosters")
    return Saved(name="lightgbm: 400 trees", folder=folder, data=folder / "model.txt", library=library, imports=imports)


def torchscript(folder: Path, _: int) -> Saved:
    import torch

    if not folder.exists():
        save_torchscript(folder)

    def library(at: Path) -> Any:
        return torch.jit.load(str(at / "model.pt"), map_location="cpu").eval()

    imports = (
        "torch",
        "trimtab.worker.plain",
        "trimtab.worker.models.torchscript",
        "trimtab.worker.flavors.torch_warm",
    )
    return Saved(
        name="torchscript: 3 layers", folder=folder, data=folder / "model.pt", library=library, imports=imports
    )


def _script(folder: Path, text: str) -> None:
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(
        textwrap.dedent(text) + "\ndef predict_fn(data, model):\n    return data\n"
    )


def _table(size_bytes: int) -> np.ndarray:
    """Floats that no disk can compress."""
    raw = np.random.default_rng(7).bytes(2**20)
    return np.frombuffer(raw * (size_bytes // 2**20), np.uint8).view(np.float32).reshape(-1, _ROW)


def _pages(array: np.ndarray) -> int:
    """Read one number of every page."""
    return int(array.reshape(-1).view(np.uint8)[::4096].sum(dtype=np.int64))


def npy(folder: Path, size_bytes: int) -> Saved:
    if not folder.exists():
        _script(folder, 'import numpy as np\ndef model_fn(d):\n    return np.load(d + "/table.npy", mmap_mode="r")')
        np.save(folder / "table.npy", _table(size_bytes))
    return Saved(
        name="NPY, mapped by a script",
        folder=folder,
        data=folder / "table.npy",
        imports=("trimtab.worker.handlers", "trimtab.worker.flavors.plain"),
        touch=_pages,
        loaded=lambda served: served._model,
    )


_TORCH_SCRIPT = """
import torch
from safetensors.torch import load_file
def model_fn(d):
    weights = load_file(d + "/model.safetensors")
    with torch.device("meta"):
        model = torch.nn.Sequential(*(torch.nn.Linear(*w.shape[::-1], bias=False) for w in weights.values()))
    model.load_state_dict({f"{i}.weight": w for i, w in enumerate(weights.values())}, assign=True)
    return model
"""


def safetensors(folder: Path, size_bytes: int) -> Saved:
    from safetensors.numpy import save_file

    if not folder.exists():
        _script(folder, _TORCH_SCRIPT)
        layers = np.split(_table(size_bytes).reshape(-1, 1024), 8)
        save_file({f"layer{i}": layer for i, layer in enumerate(layers)}, folder / "model.safetensors")

    def touch(model: Any) -> int:
        return sum(_pages(weight.detach().numpy()) for weight in model.parameters())

    return Saved(
        name="safetensors, by a torch script",
        folder=folder,
        data=folder / "model.safetensors",
        imports=("torch", "safetensors.torch", "trimtab.worker.flavors.torch_warm", "trimtab.worker.handlers"),
        flavor=Flavor.PYTORCH,
        touch=touch,
        loaded=lambda served: served._model,
    )


def _save_table(folder: Path, table: np.ndarray) -> None:
    import onnx
    from onnx import TensorProto, helper

    folder.mkdir()
    (folder / "model.onnx.data").write_bytes(table.data)
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=table.shape, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "model.onnx.data", "offset": "0", "length": str(table.nbytes)}.items():
        weights.external_data.add(key=key, value=value)
    nodes = [helper.make_node("Gather", ["w", "x"], ["g"]), helper.make_node("ReduceSum", ["g"], ["y"], keepdims=0)]
    ends = [
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    ]
    graph = helper.make_graph(nodes, "table", *ends, [weights])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )


def external(folder: Path, size_bytes: int) -> Saved:
    """A table of embeddings whose rows are looked up: onnxruntime packs nothing of it."""
    if not folder.exists():
        _save_table(folder, _table(size_bytes))
    count = size_bytes // (4 * _ROW)

    def touch(served: Any) -> object:
        rows = np.arange(0, count, _ROWS_IN_PAGE, dtype=np.int64)  # one of every page
        return [served._model.native.run(None, {"x": some}) for some in np.array_split(rows, max(1, len(rows) // 256))]

    return Saved(
        name="ONNX external data, looked up",
        folder=folder,
        data=folder / "model.onnx.data",
        imports=("onnxruntime", "trimtab.worker.plain", "trimtab.worker.models.onnx"),
        touch=touch,
    )


MAKERS = {
    "onnx": Maker(fraud, ("skl2onnx",)),
    "onnx-large": Maker(large, ("onnx",)),
    "sklearn": Maker(forest, ("sklearn",)),
    "xgboost": Maker(xgboost, ("xgboost",)),
    "lightgbm": Maker(lightgbm, ("lightgbm",)),
    "torchscript": Maker(torchscript, ("torch",)),
    "npy": Maker(npy),
    "safetensors": Maker(safetensors, ("torch", "safetensors")),
    "external": Maker(external, ("onnx",)),
}


if __name__ == "__main__":  # in a process of its own: one that has trained on several threads cannot be forked
    MAKERS[sys.argv[1]].make(Path(sys.argv[2]), int(sys.argv[3]))
