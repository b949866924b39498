"""Estimators saved by joblib, pickle or skops: anything with scikit-learn's `predict`.

Variables: TRIMTAB_PREDICT_METHOD (default `predict`; `predict_proba`, `decision_function`, `transform`, ...),
TRIMTAB_SKOPS_TRUSTED (comma separated: types beyond scikit-learn's own that a .skops file may make; `*` = all in it).
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.worker.answers import Fault
from trimtab.worker.failures import StartFailed, require
from trimtab.worker.models.model import Feed, Table


class Estimator:
    """An object with a predict method."""

    takes_text = False
    refuses_rows = ""
    proof = None
    outputs: tuple[str, ...]

    def __init__(self, native: Any, source: str, environment: Mapping[str, str]) -> None:
        method = environment.get("TRIMTAB_PREDICT_METHOD") or "predict"
        if not callable(getattr(native, method, None)):
            offered = [name for name in ("predict", "predict_proba", "transform") if hasattr(native, name)]
            raise StartFailed(
                "ModelLoadFailed",
                f"{source} holds a {type(native).__module__}.{type(native).__qualname__}, without a method {method!r}"
                + (f" (it has {', '.join(offered)}: choose with TRIMTAB_PREDICT_METHOD)." if offered else ".")
                + " Write an inference.py with a predict_fn to serve anything else.",
            )
        self.native = native
        self.outputs = (method,)
        self._predict = getattr(native, method)
        self._table = Table(
            int(getattr(native, "n_features_in_", 0) or 0), [str(n) for n in getattr(native, "feature_names_in_", ())]
        )

    def warm(self) -> None:
        """Nothing: what an estimator accepts is not known before a request shows it."""

    def run(self, value: Any) -> Sequence[Any]:
        """One array of predictions; see `Model.run`."""
        return self._ask(value) if hasattr(value, "tocsr") else self.ask({"": self._table.array(value)})

    def feed(self, value: Any) -> Feed | None:
        """See `Model.feed`."""
        return None if hasattr(value, "tocsr") else {"": self._table.array(value)}

    def ask(self, feed: Feed) -> Sequence[Any]:
        """See `Model.ask`."""
        return self._ask(self._named(feed[""]) if self._table.names else feed[""])

    def _ask(self, array: Any) -> Sequence[Any]:
        try:
            return [self._predict(array)]
        except ValueError as error:  # scikit-learn's word for inputs that it does not take
            raise Fault(400, f"The model does not take this input: {error}") from error

    def _named(self, array: Any) -> Any:
        """Estimators fitted on a data frame choose columns by name, and warn about anything else."""
        try:
            pandas = importlib.import_module("pandas")
        except ModuleNotFoundError:
            return array  # an estimator that needs the names says so; others only warn
        return pandas.DataFrame(array, columns=list(self._table.names))


def load_pickled(path: Path) -> Any:
    """Unpickle an artifact, which runs what its maker put in: an artifact is trusted as a script is."""
    try:
        return require("joblib").load(path)
    except (pickle.UnpicklingError, EOFError, KeyError) as error:
        raise StartFailed("ArtifactInvalid", f"{path.name} is neither a joblib nor a pickle file: {error}.") from error


def load_skops(path: Path, environment: Mapping[str, str]) -> Any:
    """Load a skops file. Types that it does not know to be harmless must be named. Raises StartFailed otherwise."""
    io = require("skops.io")
    trusted = [name.strip() for name in environment.get("TRIMTAB_SKOPS_TRUSTED", "").split(",") if name.strip()]
    unknown = io.get_untrusted_types(file=path)
    refused = [] if "*" in trusted else sorted(set(unknown) - set(trusted))
    if refused:
        raise StartFailed(
            "ModelLoadFailed",
            f"{path.name} would make objects of types that skops does not know to be harmless: {', '.join(refused)}. "
            f"If you trust them, set TRIMTAB_SKOPS_TRUSTED={','.join(refused)} in the model's environment.",
        )
    return io.load(path, trusted=unknown)
