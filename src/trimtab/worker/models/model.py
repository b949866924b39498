"""What every script-less model offers; and what models that take one table of numbers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from trimtab.worker import codecs
from trimtab.worker.answers import Fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trimtab.worker.models.rows import RowProof

_NAMES_SHOWN = 20


Feed = dict[str, "NDArray[Any]"]
"""Arrays by input; where the model does not name its inputs, one, called ""."""


class Model(Protocol):
    """A loaded artifact."""

    native: Any  # the library's own object: what a script's predict_fn gets
    takes_text: bool  # CSV fields stay text

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `run` answers, in its order."""
        ...

    def warm(self) -> None:
        """Answer something once."""
        ...

    @property
    def refuses_rows(self) -> str:
        """Why rows of several requests cannot be joined; "" = they can."""
        ...

    @property
    def proof(self) -> RowProof | None:
        """What judges by the first batch whether rows can be joined; None where `refuses_rows` says all."""
        ...

    def run(self, value: Any) -> Sequence[Any]:
        """Predict for nested lists, an array, a list of dicts (rows by name) or a dict (columns by name).

        Answers one value (array, or list) for each of `outputs`. Raises Fault 400 where `value` does not fit.
        """
        ...

    def feed(self, value: Any) -> Feed | None:
        """The first half of `run`: `value` as the arrays that the model takes; None where it is not made of arrays.

        Raises Fault 400 where it does not fit. Runs none of the model's own code, so any thread may call it.
        """
        ...

    def ask(self, feed: Feed) -> Sequence[Any]:
        """The second half of `run`."""
        ...


class Table:
    """Turns a request into a 2-D float array of the model's width, with its columns in the model's order."""

    def __init__(self, width: int = 0, names: Sequence[str] = ()) -> None:
        self.width = width or len(names)  # 0 = not known: the library judges
        self.names = tuple(names)

    def array(self, value: Any, dtype: Any = None) -> NDArray[Any]:
        """Rows as an array. Fault 400 where they do not fit."""
        import numpy as np

        if isinstance(value, dict):
            value = self._by_column(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            value = [self._by_name(row, f"row {number}") for number, row in enumerate(value, 1)]
        array = codecs.to_array(value, np.float64 if dtype is None and isinstance(value, list) else dtype)
        if array.ndim == 1:
            array = array.reshape(1, -1)
        if array.ndim != 2 or not array.size or (self.width and array.shape[1] != self.width):
            expected = f"rows of {self.width} numbers" if self.width else "rows of numbers"
            raise Fault(400, f"The model expects {expected}; the body holds an array of shape {array.shape}.")
        return array

    def _by_name(self, row: Any, where: str) -> list[Any]:
        if not self.names:
            raise Fault(400, "The model does not know its features by name; send rows of numbers instead of objects.")
        missing = [name for name in self.names if not isinstance(row, dict) or name not in row]
        if missing:
            raise Fault(400, f"In {where} these features are missing: {', '.join(missing[:_NAMES_SHOWN])}.")
        return [row[name] for name in self.names]

    def _by_column(self, columns: dict[str, Any]) -> list[Any]:
        values = self._by_name(columns, "the body")
        if not all(isinstance(column, list) for column in values):
            return values
        if len({len(column) for column in values}) > 1:
            raise Fault(400, "The columns of the body have different lengths.")
        return [list(row) for row in zip(*values, strict=True)]
