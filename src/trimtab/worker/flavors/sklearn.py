"""The scikit-learn container (sagemaker-scikit-learn-container): a script must bring model_fn."""

from __future__ import annotations

from typing import Any

from trimtab.worker import codecs, media
from trimtab.worker.flavors.stock import StockDefaults


class SklearnDefaults(StockDefaults):
    """Text becomes float32, one flat row becomes a table of one row, and the estimator predicts."""

    flavor = "scikit-learn"
    modules: tuple[str, ...] = ("numpy", "joblib", "sklearn")

    def input_fn(self, input_data: Any, content_type: str) -> Any:
        """An array of rows; a sparse matrix for NPZ."""
        is_text = media.base(content_type) in (media.JSON, media.CSV)
        array = codecs.decode(input_data, content_type, "float32" if is_text else None)
        return array.reshape(1, -1) if getattr(array, "ndim", 2) == 1 else array

    def predict_fn(self, data: Any, model: Any) -> Any:
        """`model.predict(data)`."""
        return model.predict(data)
