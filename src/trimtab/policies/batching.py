"""Batching: how large a batch may be, which waiting requests go together, and whether to wait for more. Pure.

Argued in docs/decisions/009-dynamic-batching.md. In short: what a batch of n rows costs is close to a line, a + b*n
seconds. An idle model waits for the next request only while that makes the sum of all waits smaller; under load batches
form by themselves while the model is busy. A latency target bounds the batch, for a request waits at most for the batch
in the model and then for its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

# AWS: SAGEMAKER_TS_MAX_BATCH_DELAY's default (sagemaker-pytorch-inference-toolkit).
DEFAULT_DELAY_S = 0.1
MOST_ROWS = 4096
ADAPTIVE_ROWS = 128  # the bound where only a latency is asked for
BATCH_BYTES = 64 * 2**20  # of inputs in one batch

_SIZE = ("TRIMTAB_BATCH_SIZE", "SAGEMAKER_TS_BATCH_SIZE")
_DELAY_MS = ("TRIMTAB_BATCH_DELAY_MS", "SAGEMAKER_TS_MAX_BATCH_DELAY")
_LATENCY_MS = ("TRIMTAB_BATCH_LATENCY_MS",)
_MOST_MS = 60_000.0  # AWS: a container must answer within 60 s

_WEIGHT = 1 / 64  # of the newest batch in the cost line
_SPREAD = 0.5  # rows of standard deviation from which on sizes tell the slope
_GAP_WEIGHT = 1 / 16  # of the newest request in the average gap between two
_OWN_SHARE = 0.45  # of a latency target that one batch may take: one before it, its own, and a tenth for the way
_WORTH_LENDING_S = 0.0003  # a batch that takes less is over before another thread has begun to read


class Limits(Struct, frozen=True, kw_only=True):
    """What a user has asked for. `latency_s` above 0: find size and delay below `rows` and `delay_s` by yourself."""

    rows: int
    delay_s: float = DEFAULT_DELAY_S
    latency_s: float = 0.0
    size_bytes: int = BATCH_BYTES


def limits_of(environment: Mapping[str, str]) -> Limits | None:
    """What a model's environment asks for; None: no batching.

    TRIMTAB_BATCH_SIZE, TRIMTAB_BATCH_DELAY_MS and TRIMTAB_BATCH_LATENCY_MS; SAGEMAKER_TS_BATCH_SIZE and
    SAGEMAKER_TS_MAX_BATCH_DELAY (ms) where the first two are absent. Raises ValueError that names the variable which is
    wrong.
    """
    latency_s = _number(environment, _LATENCY_MS, 0.0, _MOST_MS) / 1e3
    rows = _number(environment, _SIZE, ADAPTIVE_ROWS if latency_s else 1.0, MOST_ROWS)
    delay_s = _number(environment, _DELAY_MS, DEFAULT_DELAY_S * 1e3, _MOST_MS) / 1e3
    if rows != int(rows) or rows < 1:
        raise ValueError(f"{_named(environment, _SIZE)} must be a whole number from 1 to {MOST_ROWS}.")
    return Limits(rows=int(rows), delay_s=delay_s, latency_s=latency_s) if rows > 1 else None


def _number(environment: Mapping[str, str], names: Sequence[str], otherwise: float, most: float) -> float:
    name = _named(environment, names)
    text = environment.get(name, "").strip()
    if not text:
        return otherwise
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be a number from 0 to {most:g}; it is {text!r}.")
    return value


def _named(environment: Mapping[str, str], names: Sequence[str]) -> str:
    return next((name for name in names if environment.get(name, "").strip()), names[0])


class Waiting(Protocol):
    """A request that waits. Requests of equal `key` may go together; one whose key is None goes alone."""

    key: Hashable
    rows: int
    size_bytes: int


def together(waiting: Sequence[Waiting], *, rows: int, size_bytes: int) -> list[int]:
    """Places in `waiting` of the next batch: the oldest request, and what may go with it, in the order of arrival.

    At most `rows` rows and `size_bytes` bytes, unless the oldest alone is over that: then it goes alone. The oldest
    always goes first, so that no kind of request can keep another waiting for ever.
    """
    if not waiting:
        return []
    first = waiting[0]
    chosen, key = [0], first.key
    left_rows, left_bytes = rows - first.rows, size_bytes - first.size_bytes
    if key is None:
        return chosen
    for place in range(1, len(waiting)):
        if left_rows <= 0:
            break
        one = waiting[place]
        if one.key != key:
            continue
        left_rows -= one.rows
        left_bytes -= one.size_bytes
        if left_rows < 0 or left_bytes < 0:
            break  # not a smaller one from behind it: that would overtake
        chosen.append(place)
    return chosen


class CostLine:
    """What a batch of n rows takes, a + b*n seconds, fitted to the latest batches by weighted least squares."""

    __slots__ = ("_mean_rows", "_mean_rows_s", "_mean_s", "_mean_square", "_weight", "base_s", "row_s")

    def __init__(self) -> None:
        self.base_s = 0.0  # a; 0 until batches of different sizes have been seen
        self.row_s = 0.0  # b
        self._weight = 0.0
        self._mean_rows = self._mean_s = self._mean_square = self._mean_rows_s = 0.0

    def observe(self, rows: int, took_s: float) -> None:
        """Note one batch."""
        self._weight += _WEIGHT * (1 - self._weight)
        share = _WEIGHT / self._weight  # the first batches count fully
        self._mean_rows += (rows - self._mean_rows) * share
        self._mean_s += (took_s - self._mean_s) * share
        self._mean_square += (rows * rows - self._mean_square) * share
        self._mean_rows_s += (rows * took_s - self._mean_rows_s) * share
        variance = self._mean_square - self._mean_rows * self._mean_rows
        if variance > _SPREAD * _SPREAD:
            slope = (self._mean_rows_s - self._mean_rows * self._mean_s) / variance
            self.row_s = min(max(slope, 0.0), self._mean_s / self._mean_rows)
        elif not self.row_s:
            return  # sizes that hardly differ do not tell base from slope
        self.base_s = max(0.0, self._mean_s - self.row_s * self._mean_rows)

    def cost_s(self, rows: int) -> float:
        """What a batch of so many rows is expected to take; 0 before the first was seen."""
        return self.base_s + self.row_s * rows if self.row_s else self._mean_s

    def fits(self, budget_s: float) -> float:
        """The rows that a batch within `budget_s` may have; infinite where the line does not say."""
        return (budget_s - self.base_s) / self.row_s if self.row_s else float("inf")


class Arrivals:
    """The gap between two requests, in seconds: the average, and never less than how long none has come."""

    __slots__ = ("_average_s", "_last_s")

    def __init__(self) -> None:
        self._average_s = float("inf")
        self._last_s = 0.0

    def observe(self, count: int, now_s: float) -> None:
        """`count` requests have come since the last call."""
        if self._last_s:
            gap_s = max(0.0, now_s - self._last_s) / count
            keep = (1 - _GAP_WEIGHT) ** count
            self._average_s = gap_s if self._average_s == float("inf") else self._average_s * keep + gap_s * (1 - keep)
        self._last_s = now_s

    def gap_s(self, now_s: float) -> float:
        """How long until the next one, as far as the past tells."""
        return max(self._average_s, now_s - self._last_s)

    def since_s(self, now_s: float) -> float:
        """How long ago the last one came."""
        return now_s - self._last_s


class Batching:
    """Decides for one model. Feed it arrivals and batches; it answers from what it has seen."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.line = CostLine()
        self.arrivals = Arrivals()
        self.rows = 2 if limits.latency_s else limits.rows  # the bound now; adaptive batching moves it
        self.off = False

    def stop(self) -> None:
        """One request at a time from now on."""
        self.off = True
        self.rows = 1

    def next_batch(self, waiting: Sequence[Waiting]) -> list[int]:
        """Places in `waiting` of the requests to work on together next."""
        return together(waiting, rows=self.rows, size_bytes=self.limits.size_bytes) if not self.off else [0]

    def wait_s(self, waiting: Sequence[Waiting], *, rows: int, oldest_s: float, now_s: float) -> float:
        """How long an idle model should wait for more before it works on the `rows` that `next_batch` chose; 0: not.

        Let n rows wait. If one more comes after g seconds and is waited for, those n are g later and it is served in
        their batch; if not, it waits for their batch and pays the base cost again. The sum of all waits is smaller with
        waiting exactly when (n + 1) * g < a - b * n. It is asked again when something comes; when nothing comes, the
        gap grows with the silence until the wait is over.
        """
        if self.off or rows >= self.rows or (waiting and waiting[0].key is None):
            return 0.0
        worth_s = (self.line.base_s - self.line.row_s * rows) / (rows + 1)
        if self.arrivals.gap_s(now_s) >= worth_s:
            return 0.0
        left_s = self._delay_s(rows) - (now_s - oldest_s)
        return max(0.0, min(worth_s - self.arrivals.since_s(now_s), left_s))

    def _delay_s(self, rows: int) -> float:
        if not self.limits.latency_s:
            return self.limits.delay_s
        # A request that comes now may find this batch begun: what is left of the target when both have run.
        return min(self.limits.delay_s, max(0.0, self.limits.latency_s - 2 * self.line.cost_s(rows + 1)))

    def alone(self, now_s: float) -> bool:
        """A request has come when no other was in hand: whether to begin with it at once (see `wait_s`)."""
        self.arrivals.observe(1, now_s)
        return self.arrivals.gap_s(now_s) * 2 >= self.line.base_s - self.line.row_s

    def worth_lending(self, rows: int) -> bool:
        """Whether a batch of so many rows takes so long that another thread should read meanwhile."""
        cost_s = self.line.cost_s(rows)
        return not cost_s or cost_s > _WORTH_LENDING_S

    def observe(self, rows: int, took_s: float) -> None:
        """A batch of so many rows took the model so long."""
        self.line.observe(rows, took_s)
        if self.limits.latency_s and not self.off:
            self.rows = self._adapted(rows, took_s)

    def _adapted(self, rows: int, took_s: float) -> int:
        """The bound after a batch: down at once when it took too long, to half at most; up to at most the double.

        Two batches must fit into the target. The line says how large they may be, but is believed only near sizes that
        have been seen; a full batch within its share of the target is what allows a larger one. Where sizes do not tell
        the line's slope, one batch may have been quick by chance: their mean must be within that share, too.
        """
        budget_s = self.limits.latency_s * _OWN_SHARE
        fits = self.line.fits(budget_s)
        if took_s > budget_s:
            return max(1, min(self.rows, max(rows // 2, int(min(fits, rows * budget_s / took_s)))))
        if not self.line.row_s and self.line.cost_s(rows) > budget_s:
            fits = rows
        proven = max(rows, int(min(fits, MOST_ROWS)))
        return max(1, min(self.limits.rows, 2 * rows, proven) if rows >= self.rows else min(self.rows, proven))
