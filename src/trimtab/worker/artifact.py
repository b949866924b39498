"""Which file of an artifact is the model, and what kind of model: by name, and by first bytes where names are vague."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from trimtab.worker.failures import StartFailed
from trimtab.worker.models.model import Model

_BY_SUFFIX = {
    ".onnx": "onnx",
    ".joblib": "pickle",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".skops": "skops",
    ".ubj": "xgboost",
    ".pt": "torchscript",
    ".pth": "torchscript",
    ".pt2": "torchscript",
}
_VAGUE_SUFFIXES = (".json", ".txt", ".lgb", ".lgbm", ".model", ".bst", ".bin", "")
_LOOK_BYTES = 64 * 1024
_SHOWN = 12
KINDS = ("onnx", "pickle", "skops", "xgboost", "lightgbm", "torchscript")
MODULES: Mapping[str, tuple[str, ...]] = {
    "onnx": ("numpy", "onnxruntime"),
    "pickle": ("numpy", "joblib"),
    "skops": ("numpy", "skops.io"),
    "xgboost": ("numpy", "xgboost"),
    "lightgbm": ("numpy", "lightgbm"),
    "torchscript": ("numpy", "torch"),
}
_EXPECTED: Mapping[str, str] = {
    "onnx": ".onnx",
    "pickle": ".joblib or .pkl (scikit-learn)",
    "skops": ".skops (scikit-learn)",
    "xgboost": ".json, .ubj or xgboost-model (XGBoost)",
    "lightgbm": ".txt (LightGBM)",
    "torchscript": ".pt, .pth or .pt2 (PyTorch)",
}


def detect(model_dir: Path, kinds: Collection[str] = KINDS) -> tuple[Path, str]:
    """The model file at the artifact's root and its kind, one of `kinds`.

    Among several, one whose name is `model.*` wins. Raises StartFailed (ArtifactInvalid) that names what was found.
    """
    if not model_dir.is_dir():
        raise StartFailed("ArtifactMissing", f"The model has no artifact (looked in {model_dir}).")
    found = [(path, kind) for path in _files(model_dir) if (kind := kind_of(path)) in kinds]
    if len(found) > 1:
        found = [pair for pair in found if pair[0].stem == "model"] or found
    if len(found) == 1:
        return found[0][0], str(found[0][1])
    if found:
        names = ", ".join(path.name for path, _ in found)
        raise StartFailed(
            "ArtifactInvalid",
            f"The artifact holds several models: {names}. Keep one, call one model.*, or bring an inference.py.",
        )
    raise StartFailed(
        "ArtifactInvalid",
        f"The artifact holds no model that can be served without a script. Found: {_listing(model_dir)}. Expected one "
        f"of: {'; '.join(_EXPECTED[kind] for kind in KINDS if kind in kinds)}; or code/inference.py with a model_fn."
        f"{_other_image(model_dir, kinds)}{_hint(model_dir)}",
    )


def _other_image(model_dir: Path, kinds: Collection[str]) -> str:
    """What to do with a model that this image's handlers do not load."""
    others = [path.name for path in _files(model_dir) if kind_of(path) not in (None, *kinds)]
    return f" The image of this endpoint does not serve {others[0]}; trimtab://python does." if others else ""


def kind_in(model_dir: Path) -> str:
    """`script` where the artifact brings one, else the kind of its model file; "" where that is not one of a kind."""
    if (model_dir / "code").is_dir():
        return "script"
    kinds = {kind for path in _files(model_dir) if (kind := kind_of(path)) is not None}
    return kinds.pop() if len(kinds) == 1 else ""


def kind_of(path: Path) -> str | None:
    """The kind of one file, or None when it is no model."""
    kind = _BY_SUFFIX.get(path.suffix.lower())
    if kind is not None or path.suffix.lower() not in _VAGUE_SUFFIXES:
        return kind
    with path.open("rb") as file:
        start = file.read(_LOOK_BYTES)
    if start.startswith(b"tree\n") or start.startswith(b"tree\r\n"):
        return "lightgbm"
    if start.startswith(b"{") and (b'"learner"' in start or b"learner" in start[:64]):
        return "xgboost"
    is_named = path.name == "xgboost-model" or path.suffix in (".bst", ".model")
    if start.startswith(b"binf") or (is_named and start.startswith(b"{")):
        return "xgboost"
    return "pickle" if start.startswith(b"\x80") and (is_named or path.suffix == "") else None


def load(path: Path, kind: str, environment: Mapping[str, str]) -> Model:
    """Load a detected file. The runtime's module is imported here, if it was not before."""
    if kind == "onnx":
        from trimtab.worker.models.onnx import OnnxModel

        return OnnxModel(path, environment)
    if kind == "torchscript":
        from trimtab.worker.models import torchscript

        return torchscript.TorchScriptModel(torchscript.load_torchscript(path), environment)
    if kind in ("xgboost", "lightgbm"):
        from trimtab.worker.models import boosters

        if kind == "xgboost":
            return boosters.XgboostModel(boosters.load_xgboost(path), environment)
        return boosters.LightgbmModel(boosters.load_lightgbm(path), environment)
    from trimtab.worker.models import pickled

    native = pickled.load_skops(path, environment) if kind == "skops" else pickled.load_pickled(path)
    return _wrapped(native, path.name, environment)


def _wrapped(native: Any, source: str, environment: Mapping[str, str]) -> Model:
    """A pickle may hold a bare booster."""
    origin = f"{type(native).__module__.partition('.')[0]}.{type(native).__name__}"
    if origin in ("xgboost.Booster", "lightgbm.Booster"):
        from trimtab.worker.models import boosters

        is_xgboost = origin == "xgboost.Booster"
        return (boosters.XgboostModel if is_xgboost else boosters.LightgbmModel)(native, environment)
    from trimtab.worker.models.pickled import Estimator

    return Estimator(native, source, environment)


def _files(model_dir: Path) -> list[Path]:
    return sorted(p for p in model_dir.iterdir() if p.is_file() and not p.name.startswith("."))


def _listing(model_dir: Path) -> str:
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in model_dir.iterdir())
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "nothing") + more


def _hint(model_dir: Path) -> str:
    folders = [p for p in model_dir.iterdir() if p.is_dir() and p.name != "code" and not p.name.startswith(".")]
    if len(folders) == 1 and not _files(model_dir) and any(kind_of(p) for p in _files(folders[0])):
        return f" The model lies in the folder {folders[0].name}/: pack its files at the archive's root."
    return ""
