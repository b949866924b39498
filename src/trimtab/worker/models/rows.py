"""Whether rows that go through a model together come out as they would alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trimtab.worker.models.model import Feed

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 3
_SEED = 42
_TOLERANCE = 1e-2  # of an output's largest value: far above rounding, which differs with the number of rows


def mixes_rows(feed: Feed, ask: Callable[[Feed], Sequence[Any]]) -> str:
    """Which output of a row depends on the rows beside it; "" when none does, as far as three drawn rows tell.

    `feed` has one row in each array, of the right types and shapes. A model that centres its input over the batch, say,
    answers as many rows as it was given, and all of them wrong.
    """
    import numpy as np

    random = np.random.default_rng(_SEED)
    many = {name: drawn(random, np.repeat(array, _ROWS, axis=0)) for name, array in feed.items()}
    together = ask(many)
    for row in range(_ROWS):
        alone = ask({name: array[row : row + 1] for name, array in many.items()})
        for place, (one, all_) in enumerate(zip(alone, together, strict=True)):
            if _differ(one, all_, row):
                return f"output {place + 1} of a row is not the same alone and beside other rows"
    return ""


class RowProof:
    """Asks a model that does not say what it takes as soon as there are rows to go by: once."""

    def __init__(self, ask: Callable[[Feed], Sequence[Any]]) -> None:
        self._ask = ask
        self._open = True

    def refusal(self, feed: Feed) -> str:
        """See `mixes_rows`; "" from the second time on. `feed` has a row at least in each array."""
        if not self._open:
            return ""
        self._open = False
        try:
            return mixes_rows({name: array[:1] for name, array in feed.items()}, self._ask)
        except Exception:  # noqa: BLE001 it does not take what was drawn, and says so in many ways: requests will show
            return ""


def drawn(random: Any, array: NDArray[Any]) -> NDArray[Any]:
    """Numbers of the array's type: normal ones, or 0 and 1, which few models of whole numbers refuse."""
    if array.dtype.kind == "f":
        return random.normal(size=array.shape).astype(array.dtype)  # type: ignore[no-any-return]
    return random.integers(0, 2, size=array.shape).astype(array.dtype)  # type: ignore[no-any-return]


def _differ(one: Any, all_: Any, row: int) -> bool:
    import numpy as np

    if getattr(one, "dtype", None) is None or one.dtype.kind != "f" or one.shape[:1] != (1,):
        return False  # labels may flip by rounding; what has no row for each row is seen when it is cut
    if all_.shape != (_ROWS, *one.shape[1:]) or not one.size:
        return False
    size = np.nanmax(np.abs(all_)) if np.isfinite(all_).any() else 0.0
    return not np.allclose(one[0], all_[row], rtol=0, atol=_TOLERANCE * float(size) + 1e-6, equal_nan=True)
