"""A model's script: find it, import it, take its handler functions, and check that they go together.

The rules are sagemaker-inference-toolkit's: `transform_fn` replaces input_fn, predict_fn and output_fn; a handler that
declares one argument more than its own is given the context.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from trimtab.worker.environment import DEFAULT_PROGRAM, code_dir
from trimtab.worker.failures import StartFailed

Handler = Callable[..., Any]

ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "pre_model_fn": ("model_dir",),
    "model_fn": ("model_dir",),
    "model_warmup_fn": ("model_dir", "model"),
    "input_fn": ("input_data", "content_type"),
    "predict_fn": ("data", "model"),
    "predict_batch_fn": ("inputs", "model"),
    "output_fn": ("prediction", "accept"),
    "transform_fn": ("model", "input_data", "content_type", "accept"),
}
REPLACED = ("input_fn", "predict_fn", "predict_batch_fn", "output_fn")  # by transform_fn


class Function(Struct, frozen=True):
    """A handler and whether it wants the context."""

    call: Handler
    takes_context: bool = False

    def __call__(self, *arguments: Any, context: object = None) -> Any:
        """Call it with its own arguments, and the context if it declared one more."""
        return self.call(*arguments, context) if self.takes_context else self.call(*arguments)


def find(model_dir: Path, environment: Mapping[str, str]) -> Path | None:
    """The script that the model brings, or None.

    SAGEMAKER_PROGRAM (default inference.py) in the code folder, or at the artifact's root. Raises StartFailed when the
    program is named but not there.
    """
    program = environment.get("SAGEMAKER_PROGRAM", "")
    folder = code_dir(model_dir, environment)
    for candidate in (folder / (program or DEFAULT_PROGRAM), model_dir / (program or DEFAULT_PROGRAM)):
        if candidate.is_file():
            return candidate
    if program:
        there = ", ".join(sorted(p.name for p in folder.iterdir())) if folder.is_dir() else "there is no code/ folder"
        raise StartFailed(
            "ArtifactInvalid",
            f"SAGEMAKER_PROGRAM names {program!r}, which code/ of the artifact lacks ({there or 'it is empty'}).",
        )
    return None


def load(path: Path) -> dict[str, Function]:
    """Import the script and return the handlers that it defines. Raises what the script raises, or StartFailed."""
    folder = str(path.parent)
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise StartFailed("ArtifactInvalid", f"{path.name} is no Python file: its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(path.stem, None)
        raise
    return handlers_of(module, path.name)


def handlers_of(module: object, program: str) -> dict[str, Function]:
    """The handlers among a module's names, checked. Raises StartFailed naming the one that is wrong."""
    found = {name: function for name in ARGUMENTS if (function := getattr(module, name, None)) is not None}
    clash = [name for name in REPLACED if name in found]
    if "transform_fn" in found and clash:
        raise StartFailed(
            "ModelLoadFailed",
            f"{program} defines transform_fn together with {', '.join(clash)}. transform_fn replaces input_fn, "
            "predict_fn (or predict_batch_fn) and output_fn: define either it or them.",
        )
    return {name: _checked(name, function, program) for name, function in found.items()}


def _checked(name: str, function: Any, program: str) -> Function:
    expected = ARGUMENTS[name]
    if not callable(function):
        raise StartFailed("ModelLoadFailed", f"{program}: {name} is a {type(function).__name__}, not a function.")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise StartFailed("ModelLoadFailed", f"{program}: {name} is async; SageMaker calls it as a plain function.")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return Function(function)  # written in C, without a signature: called with its own arguments
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    many = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if required > len(expected) + 1 or (len(positional) < len(expected) and not many):
        raise StartFailed(
            "ModelLoadFailed",
            f"{program}: {name} must take {len(expected)} arguments ({', '.join(expected)}), and may take one more, "
            f"the context. It takes {', '.join(p.name for p in positional) or 'none'}.",
        )
    extra = positional[len(expected)] if len(positional) > len(expected) else None
    return Function(function, extra is not None and (extra.default is extra.empty or extra.name == "context"))
