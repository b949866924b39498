"""`trimtab://python` with a script that leaves handlers out: the artifact is served as it would be without a script.

model_fn loads the one model file and gives a script's predict_fn the library's own object (onnxruntime's session,
the estimator, the booster).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.worker import artifact
from trimtab.worker.flavors.stock import StockDefaults
from trimtab.worker.models.model import Model


class PlainDefaults(StockDefaults):
    """Any artifact that needs no script."""

    flavor = "plain"

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(environment)
        self._model: Model | None = None

    def model_fn(self, model_dir: str) -> Any:
        """The native object of the artifact's one model. Raises StartFailed where there is none, or several."""
        self._model = artifact.load(*artifact.detect(Path(model_dir)), self.environment)
        self._model.warm()
        return self._model.native

    def predict_fn(self, data: Any, model: Any) -> Any:
        """One output: its value; several: a dict of them by name. A script's own model is called as a function."""
        if self._model is None or model is not self._model.native:
            return super().predict_fn(data, model)
        values = self._model.run(data)
        return values[0] if len(values) == 1 else dict(zip(self._model.outputs, values, strict=True))
