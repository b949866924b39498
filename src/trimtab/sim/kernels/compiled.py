"""Machine code of loops over single requests, by numba where it is installed (`pip install 'trimtab[sim]'`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from trimtab.errors import Invalid

P = ParamSpec("P")
R = TypeVar("R")

MISSING = "The simulator needs numba, which is not installed: pip install 'trimtab[sim]'"


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` as machine code. It is made at the first call, and kept in the user's cache for later processes.

    Without numba the call raises Invalid, which says what to install; importing does not.
    """
    try:
        import numba
    except ImportError:

        def missing(*args: P.args, **kwargs: P.kwargs) -> R:
            raise Invalid(MISSING)

        return missing
    made: Callable[P, R] = numba.njit(cache=_has_cache(numba), error_model="numpy")(function)
    return made


def must_be_there() -> None:
    """Invalid where numba is not installed: before anything is asked of people or servers that it would be for."""
    if find_spec("numba") is None:
        raise Invalid(MISSING)


def _has_cache(numba: Any) -> bool:
    """Whether there is a folder for what was compiled: $NUMBA_CACHE_DIR, or one in the user's cache."""
    if numba.config.CACHE_DIR:
        return True
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "trimtab" / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return False
    numba.config.CACHE_DIR = str(folder)
    return os.access(folder, os.W_OK)
