"""Why a worker did not become ready, in the words of `resources.replica.Failure`."""

from __future__ import annotations

import importlib
import traceback
from pathlib import Path
from types import ModuleType, TracebackType

from trimtab.resources.replica import Failure
from trimtab.worker.faults import is_out_of_memory, said

_TAIL_LINES = 30
_TAIL_CHARS = 4000
_OUR_CODE = str(Path(__file__).parent)

# Which extra of trimtab brings a module; modules that come with the base install have none.
_EXTRAS = {
    "sklearn": "sklearn",
    "joblib": "sklearn",
    "skops": "sklearn",
    "scipy": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "torch": "torch",
    "transformers": "huggingface",
}


class StartFailed(Exception):
    """The model cannot be brought up; `failure` is what Describe shows."""

    def __init__(self, reason: str, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.failure = Failure(reason=reason, message=message, tail=tail)


def require(module: str) -> ModuleType:
    """Import a runtime's module. Raises StartFailed (RuntimeMissing) naming the command that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        extra = _EXTRAS.get(top)
        package = f"'trimtab[{extra}]'" if extra else top
        raise StartFailed(
            "RuntimeMissing",
            f"This model needs the Python package {top!r}, which is not installed here. Install it with "
            f"`pip install {package}`, or name it in the model's code/requirements.txt.",
        ) from error


def of(error: BaseException, doing: str) -> Failure:
    """Describe what went wrong while `doing` something ("loading the model", "importing inference.py")."""
    if isinstance(error, StartFailed):
        return error.failure
    reason, what = "ModelLoadFailed", f"{type(error).__name__}: {said(error)}"
    cure = "The traceback shows where; the replica's log holds all that was printed."
    if is_out_of_memory(error):
        reason, cure = "OutOfMemory", "Use a larger instance type, or a smaller model."
    elif isinstance(error, SystemExit):
        what = f"the model's code called sys.exit({error.code!r})"
    elif isinstance(error, ModuleNotFoundError) and error.name:
        cure = f"Add the package that provides {error.name!r} to the model's code/requirements.txt."
    return Failure(reason=reason, message=f"{doing[:1].upper()}{doing[1:]} failed: {what}. {cure}", tail=tail_of(error))


def tail_of(error: BaseException) -> str:
    """The last lines of the traceback, beginning at the model's own code rather than at ours."""
    lines = "".join(traceback.format_exception(type(error), error, _first_foreign(error.__traceback__))).splitlines()
    return "\n".join(lines[-_TAIL_LINES:])[-_TAIL_CHARS:]


def _first_foreign(frames: TracebackType | None) -> TracebackType | None:
    """Skip the leading frames of this package and of the import system; all of them if nothing else is left."""
    start = frames
    while frames is not None:
        filename = frames.tb_frame.f_code.co_filename
        if not filename.startswith((_OUR_CODE, "<frozen importlib")) and "/importlib/" not in filename:
            return frames
        frames = frames.tb_next
    return start
