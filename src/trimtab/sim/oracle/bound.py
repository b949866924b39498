"""What no policy can serve a load for: a proven lower bound on replica-seconds, for one who knows all that will come.

**What is bounded.** Requests arrive at `a`, each takes a slot of a replica for `s` or longer, and is kept if it is
answered by `a + D`; a part `kept` of them must be. A replica is paid for from its order to its end, for
`least_billed_s` at least; it takes requests from `start_s` after its order, and has `slots`. There are `least`
replicas at each moment, and not more than `most`. Replicas that were there at the beginning have been ordered before:
their start is not counted, nor is what lies after the end. Any policy, any way of routing and queueing, is within
these rules.

**The relaxation.** Let c(t) be the replicas that take requests, and R(t) the work done by t on requests that are
kept, in replica-seconds: a request's s / slots, spread evenly over the time in which it is worked on. That time is
within [a, a + D] and at least s long. So by t there is at most a part (t - a) / s done of it, and at least 1 - (a + D
- t) / s: summed over all, E(t) and L(t). Therefore, for every policy that keeps every request,

    L(t) <= R(t) <= E(t),     R(v) - R(u) <= integral of c from u to v.                                      (1)

Whatever satisfies (1) and costs least costs no more than any policy. (It may split a request over replicas, stop it
and go on, and begin in any order: that only helps.) Replicas work on `batch` requests together for the longest of
them and `row_s` for each further one: of n requests that is at least the sum of s/n + row_s (n-1)/n, which is
smallest at n = 1 where s <= row_s, else at n = batch; so much is a request's work.

**Requests that are not kept.** Not more than (1 - kept) of them all; together they have at most the work B of the so
many largest. Let them count as done at a price `v` for each replica-second, and take v x B off the sum: for every v
>= 0 that is a lower bound (Lagrange), and the best v is sought. Requests longer than D can be kept by nobody: they
are among those.

**Cells.** Time is cut into cells of d seconds. Let each replica's time, from ready to end, begin and end with a
cell's edge, by rounding outward. There are not fewer at any moment, so (1) holds; a life is longer by 2 d at most (by
d, if it was there at the beginning). So a life that is x long on the grid has cost at least x + start_s - 2 d; if it
was ready at r, sooner than start_s after the beginning, r + its length, which is at least x + (the cell's beginning)
- d. On the grid, c is a whole number k in each cell, in which at most k units of d replica-seconds are done. Rounding
R up to whole units keeps (1) if E and L are rounded up, too: what is done in a cell is whole, and ceil(x + k) =
ceil(x) + k. (Work that is left out is rounded up by itself: one unit more of E.) As many lives begin with a cell as c
rises by, or more. Of the problem that results (a whole number c and a backlog for each cell) dynamic programming
finds the least cost exactly. (Of more replicas than can be of use within a start's time, one could have ended, and
another be started for it.) `most` is not in it: rounding may put two replicas into a cell that followed each other;
it only tells what is out of reach.

**Least billing.** A life costs max(m, x + start_s), which is at least (1 - p)(x + start_s) + p m for each 0 <= p <=
1: where m > start_s the best p is sought as well.

Long times are cut into windows: `sim.oracle.windows`.

**Quick starts.** Where start_s is not well above d, this says little. But of (1) alone follows that the cost is at
least `least` x time, and the work that cannot be done by `least` replicas (done as early as it comes), less B. The
larger of both bounds counts. docs/decisions/018-oracle.md says how far it is from what can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import ceil, floor, inf, isfinite, isinf
from typing import Any, Final

import numpy as np
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.sim.load import Floats
from trimtab.sim.oracle.kernels import cheapest, forced, spread
from trimtab.sim.replicas.station import feed, work_on
from trimtab.sim.world import Ints, Serving, Workload

_MOST_CELLS: Final = 4_000_000
_MOST_STEPS: Final = 150_000_000  # of the dynamic programme
_STARTS_A_CELL: Final = 40  # cells in a start, where that can be afforded
SLACK: Final = 1e-6  # of a unit: sums are rounded in the bound's disfavour
_LEAST_CELL_S: Final = 0.01
_CLOCK_S: Final = 1e-6


class Terms(Struct, frozen=True, kw_only=True):
    """What a replica is, and how it is paid for."""

    start_s: float  # from the order until it takes requests
    slots: int = 1
    batch: int = 1
    row_s: float = 0.0
    least: int = 1  # replicas, at each moment
    most: int | None = None
    least_billed_s: float = 0.0


class Lower(Struct, frozen=True, kw_only=True):
    """The bound. `replica_s` is infinite where the SLO can be kept by nobody with so many replicas."""

    replica_s: float
    requests: int
    work_s: float  # replica-seconds of all requests, in the largest batches
    left_out_s: float  # B
    cell_s: float
    is_fluid: bool  # the bound for quick starts was the larger one


class Asked(Struct, frozen=True):
    """Some requests: when each comes, and how long it takes a slot alone."""

    at_s: Floats
    service_s: Floats


def lower_bound(
    asked: Callable[[], Iterable[Asked]],
    terms: Terms,
    *,
    within_s: float,
    kept: float,
    start_s: float,
    end_s: float,
    cell_s: float | None = None,
) -> Lower:
    """For the requests that `asked` yields (twice, in any order), from `start_s` to `end_s`.

    Invalid for terms that make no sense, and where the extra `sim` is not installed.
    """
    check(terms, within_s, kept, end_s - start_s)
    requests = sum(len(some.at_s) for some in asked())
    allowed = floor((1 - kept) * requests + 1e-9)
    finest_s = cell_s or finest_cell_s(terms, end_s - start_s)
    demand = demand_of(asked(), terms, within_s, allowed, start_s, end_s, finest_s)
    if demand.hopeless > allowed:
        return _lower(demand, requests, inf, finest_s, is_fluid=False)
    fluid = _fluid(demand, terms)
    coarse, many = affordable(demand, terms, 1 if cell_s else None)
    if isinf(fluid) or many is None or terms.start_s <= 2 * coarse.cell_s:
        return _lower(demand, requests, fluid, finest_s, is_fluid=True)
    found = max(_by_price(coarse, terms, many, part) for part in _parts(terms))
    return _lower(demand, requests, max(found, fluid), coarse.cell_s, is_fluid=fluid >= found)


def bound_of(workload: Workload, serving: Serving, *, seed: int, least_billed_s: float = 0.0) -> Lower:
    """Of a workload that such an endpoint serves alone, at the workload's SLO: of the requests that `simulate` draws by
    the same seed. Invalid for one without an SLO."""
    if workload.slo is None:
        raise Invalid(f"Workload {workload.name} has no SLO: without one, nothing need be served at all.")
    work = work_on(serving.served(workload), serving.instance_type)
    arrivals = workload.arrivals
    terms = Terms(
        start_s=serving.start_s,
        slots=work.slots,
        batch=work.batch,
        row_s=work.row_s,
        least=serving.min_replicas,
        most=serving.max_replicas,
        least_billed_s=least_billed_s,
    )

    def asked() -> Iterator[Asked]:
        for at_s, service_s, _ in feed([workload], [work], seed):
            yield Asked(at_s, service_s)

    slo = workload.slo
    return lower_bound(
        asked, terms, within_s=slo.within_s, kept=slo.kept, start_s=arrivals.start_s, end_s=arrivals.end_s
    )


def finest_cell_s(terms: Terms, length_s: float) -> float:
    """Of a grid over so long a time."""
    return max(terms.start_s / _STARTS_A_CELL, _LEAST_CELL_S, length_s / _MOST_CELLS)


def check(terms: Terms, within_s: float, kept: float, length_s: float) -> None:
    """Raises Invalid for what makes no sense."""
    if length_s <= 0 or within_s <= 0 or not 0 <= kept <= 1:
        raise Invalid("A bound needs a time, an SLO above 0 s, and a part to keep from 0 to 1.")
    if terms.slots < 1 or terms.batch < 1 or terms.least < 0 or (terms.most is not None and terms.most < terms.least):
        raise Invalid("A bound needs 1 slot and batches of 1 at least, and no fewer replicas at most than at least.")


# --- what has to be done, and when -----------------------------------------------------------------------------------


class _Demand(Struct, frozen=True):
    """E and L at the edges of cells, in replica-seconds."""

    cell_s: float
    length_s: float
    earliest: Floats
    latest: Floats
    work_s: float
    left_out_s: float
    hopeless: int  # requests that are longer than the SLO


def demand_of(
    chunks: Iterable[Asked],
    terms: Terms,
    within_s: float,
    allowed: int,
    start_s: float,
    end_s: float,
    cell_s: float,
) -> _Demand:
    """What has to be done, and when, on a grid of cells; `allowed` requests need not be kept."""
    cells = max(int((end_s - start_s) / cell_s), 1)
    cell_s = min(cell_s, end_s - start_s)
    came, due = np.zeros(cells), np.zeros(cells)
    largest, work_s, hopeless = np.zeros(0), 0.0, 0
    for some in chunks:
        service_s = np.asarray(some.service_s, dtype=np.float64)
        each_s = work_each(service_s, terms)
        work_s += float(each_s.sum())
        can = can_be_kept(service_s, within_s)
        hopeless += int((~can).sum())
        at_s, service_s, kept_s = np.asarray(some.at_s)[can] - start_s, service_s[can], each_s[can]
        spread(came, at_s, service_s, kept_s, cell_s)
        spread(due, at_s + np.maximum(within_s - service_s, 0.0), service_s, kept_s, cell_s)
        largest = _largest(np.concatenate((largest, kept_s)), allowed)
    left_out_s = float(np.sort(largest)[::-1][: max(allowed - hopeless, 0)].sum())
    return _Demand(
        cell_s,
        end_s - start_s,
        np.concatenate(([0.0], np.cumsum(came))),
        np.concatenate(([0.0], np.cumsum(due))),
        work_s,
        left_out_s,
        hopeless,
    )


def can_be_kept(service_s: Floats, within_s: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which requests are no longer than the SLO, as far as a clock can tell: one that counts from 1970 rounds to a
    quarter of a microsecond, and what a policy keeps by rounding the bound must not call hopeless."""
    return np.asarray(service_s) <= within_s + _CLOCK_S


def work_each(service_s: Floats, terms: Terms) -> Floats:
    """The least replica-seconds that a request of so long can take: in the largest batch, where that helps."""
    in_batch = np.minimum(service_s, terms.row_s + (service_s - terms.row_s) / terms.batch)
    each: Floats = np.where(service_s > terms.row_s, in_batch, service_s) / terms.slots
    return each


def _largest(values: Floats, count: int) -> Floats:
    if count <= 0:
        return values[:0]
    return values if len(values) <= count else np.partition(values, len(values) - count)[len(values) - count :]


# --- the two bounds --------------------------------------------------------------------------------------------------


class _Many(Struct, frozen=True):
    """What the dynamic programme works on: whole units, and replicas."""

    earliest: Ints
    latest: Ints
    useful: Ints  # replicas, in each cell
    steps: float  # that the programme takes


def _units(demand: _Demand, least: int, start_s: float) -> _Many:
    earliest = np.ceil(demand.earliest / demand.cell_s + SLACK).astype(np.int64)
    latest = np.maximum(np.ceil(demand.latest / demand.cell_s - SLACK).astype(np.int64), 0)
    earliest[0] = latest[0] = 0
    if demand.left_out_s > 0:
        earliest += 1
    useful = np.maximum(earliest[1:] - latest[:-1], least)
    caps = _most_soon(useful, ceil(start_s / demand.cell_s))
    steps = float(((earliest - latest + 1)[:-1] * (caps - least + 1)).sum())
    return _Many(earliest, latest, useful, steps)


def _most_soon(useful: Ints, ahead: int) -> Ints:
    """The most of each cell and the `ahead` ones after it: who has more could end it, and start it anew for less."""
    most, reach = useful.copy(), 1
    while reach <= ahead:
        move = min(reach, ahead + 1 - reach)
        most[:-move] = np.maximum(most[:-move], most[move:]) if move < len(most) else most.max(initial=0)
        reach += move
    return most


def _fluid(demand: _Demand, terms: Terms) -> float:
    if terms.most is not None:
        lost_s = forced(demand.earliest, demand.latest, terms.most * demand.cell_s)
        if lost_s > demand.left_out_s + SLACK * demand.work_s:
            return inf
    forced_s = forced(demand.earliest, demand.latest, terms.least * demand.cell_s)
    return terms.least * demand.length_s + max(forced_s * (1 - SLACK) - demand.left_out_s, 0.0)


def affordable(
    demand: _Demand, terms: Terms, factor: int | None, most_steps: float = _MOST_STEPS
) -> tuple[_Demand, _Many | None]:
    """The finest grid on which the programme ends in time; None where the start is too short for any such."""
    for times in (factor,) if factor else (1, 2, 3, 4, 6, 8, 12, 16, 20):
        coarse = _coarser(demand, times)
        many = _units(coarse, terms.least, terms.start_s)
        if factor or many.steps <= most_steps:
            return coarse, many
    return demand, None


def _coarser(demand: _Demand, times: int) -> _Demand:
    """Whole cells only: what is after the last of them is not paid for."""
    return _Demand(
        demand.cell_s * times,
        demand.length_s,
        demand.earliest[::times],
        demand.latest[::times],
        demand.work_s,
        demand.left_out_s,
        demand.hopeless,
    )


def _parts(terms: Terms) -> tuple[float, ...]:
    return (0.0, 0.25, 0.5, 0.75, 1.0) if terms.least_billed_s > terms.start_s else (0.0,)


def _up_costs(demand: _Demand, terms: Terms, part: float) -> Floats:
    """Of a life that begins with each cell: what its start costs, less what rounding may have added to it."""
    cell_s = demand.cell_s
    at_s = np.arange(len(demand.earliest) - 1) * cell_s
    ordered_s = at_s - terms.start_s
    start_s = np.minimum(terms.start_s - 2 * cell_s, at_s - cell_s)
    left_s = np.maximum(demand.length_s - (ordered_s + cell_s), 0.0)
    billed_s = np.where(ordered_s < 0, 0.0, np.minimum(terms.least_billed_s, left_s))
    costs: Floats = (1 - part) * start_s + part * billed_s
    return costs


def _by_price(demand: _Demand, terms: Terms, many: _Many, part: float) -> float:
    cost = priced(demand, terms, many, part)
    if demand.left_out_s <= 0:
        return cost(inf)
    units = ceil(demand.left_out_s / demand.cell_s - SLACK)
    return _best_price(lambda price: cost(price) - price * units * demand.cell_s, terms.start_s / demand.cell_s)


def priced(demand: _Demand, terms: Terms, many: _Many, part: float) -> Callable[[float], float]:
    """What the cheapest capacity costs, with the work that is left out at a price."""
    up_costs = _up_costs(demand, terms, part)
    rest_s = (1 - part) * terms.least * (demand.length_s - (len(many.earliest) - 1) * demand.cell_s)

    idle = float(up_costs.max(initial=0.0)) / max(
        (1 - part) * demand.cell_s, 1e-12
    )  # cells that cost what a start does
    caps = _most_soon(many.useful, ceil(min(idle, len(many.useful))) + 1)

    def cost(price: float) -> float:
        found = cheapest(
            many.earliest, many.latest, terms.least, caps, (1 - part) * demand.cell_s, up_costs,
            price * demand.cell_s,
        )  # fmt: skip
        return found + rest_s

    return cost


def _best_price(value: Callable[[float], float], most: float) -> float:
    """The largest value of a concave function of the price, sought on a logarithmic scale."""
    low, high = 0.0, np.log1p(max(4 * most, 100.0))
    best = value(0.0)
    golden = (5**0.5 - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = value(float(np.expm1(left))), value(float(np.expm1(right)))
    for _ in range(7):
        best = max(best, at_left, at_right)
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = value(float(np.expm1(left)))
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = value(float(np.expm1(right)))
    return max(best, at_left, at_right)


def _lower(demand: _Demand, requests: int, replica_s: float, cell_s: float, *, is_fluid: bool) -> Lower:
    return Lower(
        replica_s=replica_s,
        requests=requests,
        work_s=demand.work_s,
        left_out_s=demand.left_out_s,
        cell_s=cell_s,
        is_fluid=is_fluid and isfinite(replica_s),
    )
