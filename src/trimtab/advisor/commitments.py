"""How much to commit to, for a discount: Savings-Plan-like, on what an architecture needs once it is trimmed.

A commitment of K units (replicas, or dollars an hour at on-demand prices) is paid for in every hour of its term at (1
- discount) a unit; what is used beyond it is paid on demand. Over hours of usage X its cost is K (1 - discount) + E
max(X - K, 0): least where K is the quantile of X at `discount` (the newsvendor's problem). What X will be is not
known. So futures are drawn from the past: its weeks (days, where there are less than two weeks), recent ones more
often, on a level that walks as far as levels of past weeks did. K is what saves most over all of them, among those
that save something in 95 of 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.sim.load import Floats

CERTAINTY: Final = 0.95
YEAR_H: Final = 8760
_WEEK_H: Final = 168
_DAY_H: Final = 24
_FUTURES: Final = 400
_CHOICES: Final = 121
_RECENT: Final = 0.85  # weight of a week against the one after it
_USUAL_STEP: Final = 0.06  # by which levels of weeks differ, before anything is known; as good as two of them
_USUAL_WORTH: Final = 2.0
_DRAWN_H: Final = 2600  # hours that stand for a term: of a longer one every so many


class Commitment(Struct, frozen=True, kw_only=True):
    """`units` committed to, and what that saves of the cost on demand, as a part of it."""

    units: float
    discount: float
    term_h: int
    saves: float  # on average over the futures
    saves_at_least: float  # in 95 of 100 of them
    covers: float  # part of what will be used that it pays for
    history_h: int
    note: str = ""


class Backtest(Struct, frozen=True, kw_only=True):
    """Of terms that followed each other. Costs are parts of what the same would have cost on demand."""

    terms: int
    cost: float
    hindsight_cost: float  # with the best K of each term
    regret: float  # cost beyond hindsight's, as a part of it
    worst_regret: float
    worse_than_on_demand: int  # terms


def newsvendor(usage: Sequence[float] | Floats, discount: float) -> float:
    """The K that would have been cheapest for this usage (hindsight). Invalid for usage or a discount out of range."""
    hours = _checked(usage, discount)
    return float(np.quantile(hours, discount, method="inverted_cdf"))


def cost_of(usage: Floats, units: float, discount: float) -> float:
    """Of `units` committed to over these hours, in units on demand an hour."""
    return units * (1 - discount) + float(np.maximum(usage - units, 0.0).mean())


def sized(
    usage: Sequence[float] | Floats,
    discount: float,
    *,
    term_h: int = YEAR_H,
    certainty: float = CERTAINTY,
    seed: int = 0,
) -> Commitment:
    """The commitment for a term that follows `usage`: units used in each hour of the past, oldest first.

    Invalid for less than a day of usage, negative or missing values, and a discount that is not between 0 and 1.
    """
    hours = _checked(usage, discount)
    if len(hours) < _DAY_H:
        raise Invalid(f"A commitment is sized by a day of usage at least; there are {len(hours)} hours.")
    futures = _futures(hours, term_h, np.random.default_rng(seed))
    on_demand = futures.mean(axis=1)
    choices = np.unique(np.concatenate(([0.0], np.quantile(futures, np.linspace(0, 1, _CHOICES)))))
    savings = np.stack([on_demand - _costs(futures, units, discount) for units in choices])
    parts = savings / np.maximum(on_demand, 1e-12)
    safe = np.quantile(parts, 1 - certainty, axis=1) >= 0
    best = int(np.argmax(np.where(safe, savings.mean(axis=1), -np.inf)))  # nothing committed is always safe
    units = float(choices[best])
    return Commitment(
        units=units,
        discount=discount,
        term_h=term_h,
        saves=float(savings[best].mean() / max(on_demand.mean(), 1e-12)),
        saves_at_least=float(np.quantile(parts[best], 1 - certainty)),
        covers=float(np.minimum(futures, units).mean() / max(futures.mean(), 1e-12)),
        history_h=len(hours),
        note=_note(len(hours), term_h),
    )


def backtest(
    usage: Sequence[float] | Floats,
    discount: float,
    *,
    history_h: int,
    term_h: int,
    step_h: int = _DAY_H,
    seed: int = 0,
) -> Backtest:
    """Size a commitment every `step_h` by the `history_h` before, and let it run for the `term_h` after.

    Invalid where there is not a single such term.
    """
    hours = _checked(usage, discount)
    begins = range(history_h, len(hours) - term_h + 1, step_h)
    if not begins:
        raise Invalid(f"{len(hours)} hours are too few for {history_h} of history and a term of {term_h}.")
    paid, best, worse = [], [], 0
    for number, begin in enumerate(begins):
        term = hours[begin : begin + term_h]
        chosen = sized(hours[begin - history_h : begin], discount, term_h=term_h, seed=seed + number)
        on_demand = max(float(term.mean()), 1e-12)
        paid.append(cost_of(term, chosen.units, discount) / on_demand)
        best.append(cost_of(term, newsvendor(term, discount), discount) / on_demand)
        worse += paid[-1] > 1 + 1e-9
    regrets = np.array(paid) / np.array(best) - 1
    cost, least = float(np.mean(paid)), float(np.mean(best))
    return Backtest(
        terms=len(paid),
        cost=cost,
        hindsight_cost=least,
        regret=cost / least - 1,
        worst_regret=float(regrets.max()),
        worse_than_on_demand=worse,
    )


def _checked(usage: Sequence[float] | Floats, discount: float) -> Floats:
    hours = np.asarray(usage, dtype=np.float64)
    if not len(hours) or not np.isfinite(hours).all() or (hours < 0).any():
        raise Invalid("Usage is a number for each hour, 0 or more.")
    if not 0 < discount < 1:
        raise Invalid(f"A discount is a part between 0 and 1, not {discount:g}.")
    return hours


def _costs(futures: Floats, units: float, discount: float) -> Floats:
    costs: Floats = units * (1 - discount) + np.maximum(futures - units, 0.0).mean(axis=1)
    return costs


def _futures(hours: Floats, term_h: int, rng: np.random.Generator) -> Floats:
    """One row for each future; a column for each hour that is looked at."""
    block_h = _WEEK_H if len(hours) >= 2 * _WEEK_H else _DAY_H
    count = len(hours) // block_h
    blocks = hours[len(hours) - count * block_h :].reshape(count, block_h)
    ahead = max(1, round(term_h / block_h))
    ages = np.arange(count)[::-1] * (block_h / _WEEK_H)
    weights = _RECENT**ages
    chosen = rng.choice(count, size=(_FUTURES, ahead), p=weights / weights.sum())
    level = _walks(blocks, block_h, ahead, rng)
    every = max(1, ahead * block_h // _DRAWN_H)
    offset = np.arange(0, ahead * block_h, every)
    at, hour = offset // block_h, offset % block_h
    futures: Floats = blocks[chosen[:, at], hour[None, :]] * level[:, at]
    return futures


def _walks(blocks: Floats, block_h: int, ahead: int, rng: np.random.Generator) -> Floats:
    """Levels of the coming blocks against those of the past: what weeks differ by, added up week after week."""
    squares, known = _USUAL_WORTH * _USUAL_STEP**2, _USUAL_WORTH
    means = blocks.mean(axis=1)
    if block_h == _WEEK_H and len(means) > 1 and (means > 0).all():
        steps = np.diff(np.log(means))
        squares, known = squares + float((steps**2).sum()), known + len(steps)
    step = (squares / known * block_h / _WEEK_H) ** 0.5
    moved = rng.standard_normal((_FUTURES, ahead)) * step
    levels: Floats = np.exp(np.cumsum(moved, axis=1) - step**2 / 2 * np.arange(1, ahead + 1))
    return levels


def _note(history_h: int, term_h: int) -> str:
    if term_h <= 4 * history_h:
        return ""
    days = round(history_h / _DAY_H)
    known = "1 day says" if days == 1 else f"{days} days say"
    return f"{known} little of {term_h / _DAY_H:.0f}: commit in parts, a share each month."
