"""PyTorch models without Python code of their own: TorchScript archives (.pt, .pth), exported programs (.pt2)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.worker import codecs
from trimtab.worker.answers import Fault
from trimtab.worker.environment import thread_count
from trimtab.worker.failures import StartFailed, require
from trimtab.worker.models.model import Feed
from trimtab.worker.models.rows import RowProof


class TorchScriptModel:
    """A scripted or traced module that takes one float tensor. Several outputs are called output_0, output_1, ..."""

    takes_text = False
    refuses_rows = ""

    def __init__(self, native: Any, environment: Mapping[str, str]) -> None:
        self._torch = require("torch")
        self._torch.set_num_threads(thread_count(environment))
        self.native = native
        self.outputs: tuple[str, ...] = ("output",)
        self._device = device(self._torch)
        self.proof = RowProof(self.ask)  # an archive does not say which shape it takes: the first batch does

    def warm(self) -> None:
        """Nothing: an archive does not say which shape it takes."""

    def run(self, value: Any) -> Sequence[Any]:
        """One value for each tensor of the answer; see `Model.run`."""
        return self.ask(self.feed(value))

    def feed(self, value: Any) -> Feed:
        """See `Model.feed`."""
        if isinstance(value, dict):
            raise Fault(400, "A TorchScript model takes one array; write an inference.py to send inputs by name.")
        array = codecs.to_array(value, "float32")
        return {"": array.reshape(1, -1) if array.ndim == 1 else array}

    def ask(self, feed: Feed) -> Sequence[Any]:
        """See `Model.ask`."""
        tensor = self._torch.as_tensor(feed[""], device=self._device)
        with self._torch.no_grad():
            try:
                answer = self.native(tensor)
            except RuntimeError as error:  # TorchScript's word for shapes that do not fit
                raise Fault(
                    400, f"The model does not take this input of shape {tuple(tensor.shape)}: {error}"
                ) from error
        values = list(answer) if isinstance(answer, (tuple, list)) else [answer]
        self.outputs = ("output",) if len(values) == 1 else tuple(f"output_{i}" for i in range(len(values)))
        return [value.detach().cpu().numpy() if hasattr(value, "detach") else value for value in values]


def device(torch: Any) -> Any:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_torchscript(path: Path) -> Any:
    """Load the archive in evaluation mode, or the program as it was exported.

    Raises StartFailed for a file of weights alone.
    """
    torch = require("torch")
    if path.suffix == ".pt2":
        return torch.export.load(str(path)).module().to(device(torch))
    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated for new models; this one exists.
            warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
            model = torch.jit.load(str(path), map_location=device(torch))
    except RuntimeError as error:
        raise StartFailed(
            "ModelLoadFailed",
            f"Failed to load {path.name}: {str(error).splitlines()[0]}. Please ensure model is saved using torchscript "
            "(torch.jit.script or torch.jit.trace), or write an inference.py whose model_fn makes the module and loads "
            "its weights.",
        ) from error
    model.eval()
    return model


def find_torchscript(model_dir: Path) -> Path:
    """`model.pt`, or the only .pt or .pth file (the PyTorch container's rule). Raises StartFailed otherwise."""
    default = model_dir / "model.pt"
    if default.is_file():
        return default
    files = sorted(p for p in model_dir.iterdir() if p.suffix in (".pt", ".pth")) if model_dir.is_dir() else []
    if len(files) == 1:
        return files[0]
    found = ", ".join(p.name for p in files) or "none"
    raise StartFailed(
        "ArtifactInvalid",
        f"The artifact must hold one .pt or .pth file, or one called model.pt, or an inference.py with a model_fn. "
        f"Found: {found}.",
    )
