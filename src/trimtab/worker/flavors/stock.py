"""What all containers share: stock decoders and encoders, and errors as the base toolkit answers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.worker import codecs, media
from trimtab.worker.answers import Fault
from trimtab.worker.environment import default_accept
from trimtab.worker.failures import StartFailed
from trimtab.worker.faults import fault_of


class StockDefaults:
    """Decode and encode; model_fn and predict_fn must come from the script or from a flavor."""

    flavor = "base"
    modules: tuple[str, ...] = ("numpy",)
    joins_rows = False

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.accept = default_accept(environment)

    def model_fn(self, model_dir: str) -> Any:
        """Raises StartFailed: the container insists on the script's own."""
        raise StartFailed(
            "ModelLoadFailed",
            f"The script defines no model_fn, and the {self.flavor} container has no default one. Define "
            "model_fn(model_dir) and return the loaded model.",
        )

    def input_fn(self, input_data: Any, content_type: str) -> Any:
        """JSON, CSV, JSON Lines, NPY: an array. NPZ: arrays by name, or a sparse matrix."""
        return codecs.decode(input_data, content_type)

    def predict_fn(self, data: Any, model: Any) -> Any:
        """The model, if it can be called as a function."""
        if not callable(model):
            raise TypeError(
                f"The script defines no predict_fn, and its model, a {type(model).__qualname__}, cannot be called."
            )
        return model(data)

    def output_fn(self, prediction: Any, accept: str) -> Any:
        """Encode in the first type of `accept` that can be written."""
        chosen = media.negotiate(accept, codecs.STOCK_OUTPUTS, self.accept)
        return codecs.encode(prediction, chosen), chosen

    def fault_of(self, error: BaseException) -> Fault:
        """HTTP 500, message and traceback."""
        return fault_of(error)
