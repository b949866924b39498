"""Gradient-boosted trees saved by XGBoost and LightGBM in their own formats.

Both use OMP_NUM_THREADS threads (default 1, as SageMaker's XGBoost container does): replicas share the machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.worker.answers import Fault
from trimtab.worker.environment import thread_count
from trimtab.worker.failures import StartFailed, require
from trimtab.worker.models.model import Feed, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray


class XgboostModel:
    """An xgboost.Booster."""

    takes_text = False
    refuses_rows = ""
    proof = None
    outputs: tuple[str, ...] = ("predictions",)

    def __init__(self, native: Any, environment: Mapping[str, str]) -> None:
        xgboost = require("xgboost")
        native.set_param({"nthread": thread_count(environment)})
        self.native = native
        self.width = int(native.num_features())
        self._table = Table(self.width, native.feature_names or ())
        self._matrix = xgboost.DMatrix
        self._error = xgboost.core.XGBoostError

    def warm(self) -> None:
        """Predict one row of zeros."""
        import numpy as np

        self.predict(np.zeros((1, max(1, self.width)), np.float32))

    def run(self, value: Any) -> Sequence[Any]:
        """One array of predictions; see `Model.run`."""
        if hasattr(value, "tocsr"):
            return [self.predict(value)]
        return [self.predict(self._table.array(value, "float32"))]

    def feed(self, value: Any) -> Feed | None:
        """See `Model.feed`."""
        return None if hasattr(value, "tocsr") else {"": self._table.array(value, "float32")}

    def ask(self, feed: Feed) -> Sequence[Any]:
        """See `Model.ask`."""
        return [self.predict(feed[""])]

    def predict(self, rows: Any) -> NDArray[Any]:
        """Predict for a dense array or a scipy.sparse matrix. Fault 400 where the booster refuses it."""
        try:
            if hasattr(rows, "tocsr"):  # absent is not the same as zero: only a DMatrix keeps that
                return self.native.predict(self._matrix(rows), validate_features=False)  # type: ignore[no-any-return]
            return self.native.inplace_predict(rows, validate_features=False)  # type: ignore[no-any-return]
        except (self._error, ValueError) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Fault(400, f"Unable to evaluate payload provided: {text}") from error


def load_xgboost(path: Path) -> Any:
    """Read a booster from JSON or UBJSON, whatever the file is called. Raises StartFailed when it is neither."""
    xgboost = require("xgboost")
    try:
        return xgboost.Booster(model_file=bytearray(path.read_bytes()))
    except xgboost.core.XGBoostError as error:
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        raise StartFailed(
            "ArtifactInvalid",
            f"{path.name} is no model that XGBoost {xgboost.__version__} can read: {first} Save it with "
            "booster.save_model('model.json') or ('model.ubj'); the old binary format is not read any more.",
        ) from error


class LightgbmModel:
    """A lightgbm.Booster."""

    takes_text = False
    refuses_rows = ""
    proof = None
    outputs: tuple[str, ...] = ("predictions",)

    def __init__(self, native: Any, environment: Mapping[str, str]) -> None:
        self.native = native
        self._threads = thread_count(environment)
        self._table = Table(int(native.num_feature()), native.feature_name())
        self._error = require("lightgbm").basic.LightGBMError

    def warm(self) -> None:
        """Predict one row of zeros."""
        import numpy as np

        self.run(np.zeros((1, self._table.width)))

    def run(self, value: Any) -> Sequence[Any]:
        """One array of predictions; see `Model.run`."""
        return self._ask(value if hasattr(value, "tocsr") else self._table.array(value))

    def feed(self, value: Any) -> Feed | None:
        """See `Model.feed`."""
        return None if hasattr(value, "tocsr") else {"": self._table.array(value)}

    def ask(self, feed: Feed) -> Sequence[Any]:
        """See `Model.ask`."""
        return self._ask(feed[""])

    def _ask(self, rows: Any) -> Sequence[Any]:
        try:
            return [self.native.predict(rows, num_threads=self._threads)]
        except (self._error, ValueError) as error:
            raise Fault(400, f"The model does not take this input: {error}") from error


def load_lightgbm(path: Path) -> Any:
    """Read a booster from LightGBM's text format. Raises StartFailed when it is something else."""
    lightgbm = require("lightgbm")
    try:
        return lightgbm.Booster(model_file=str(path))
    except lightgbm.basic.LightGBMError as error:
        raise StartFailed("ArtifactInvalid", f"{path.name} is no LightGBM model: {error}.") from error
