"""The PyTorch container (sagemaker-pytorch-inference-toolkit): TorchScript without a script, tensors in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimtab.worker import codecs, media
from trimtab.worker.environment import thread_count
from trimtab.worker.failures import require
from trimtab.worker.flavors.stock import StockDefaults
from trimtab.worker.models import torchscript


class PytorchDefaults(StockDefaults):
    """Load `model.pt`, or the only .pt or .pth file, by torch.jit.load; answer by one forward pass."""

    flavor = "PyTorch"
    modules: tuple[str, ...] = ("numpy", "torch")
    joins_rows = True

    def model_fn(self, model_dir: str) -> Any:
        """The TorchScript module, in evaluation mode. Raises StartFailed."""
        torch = require("torch")
        torch.set_num_threads(thread_count(self.environment))
        return torchscript.load_torchscript(torchscript.find_torchscript(Path(model_dir)))

    def input_fn(self, input_data: Any, content_type: str) -> Any:
        """A tensor on the device; float32 for JSON and CSV."""
        torch = require("torch")
        is_text = media.base(content_type) in (media.JSON, media.CSV)
        array = codecs.decode(input_data, content_type, "float32" if is_text else None)
        return torch.as_tensor(array).to(torchscript.device(torch))

    def predict_fn(self, data: Any, model: Any) -> Any:
        """`model(data)` without gradients, in evaluation mode, on the device."""
        torch = require("torch")
        device = torchscript.device(torch)
        with torch.no_grad():
            model = model.to(device)
            model.eval()
            return model(data.to(device))

    def output_fn(self, prediction: Any, accept: str) -> Any:
        """Tensors as nested lists."""
        if hasattr(prediction, "detach"):
            prediction = prediction.detach().cpu().numpy().tolist()
        return super().output_fn(prediction, accept)
