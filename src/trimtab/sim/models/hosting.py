"""Requests to replicas that hold many models each, one by one, in machine code.

A request goes to the replica with the least in hand of those that hold its model, and waits there for one of the slots
that all its models share, and of which its model may take so many: first come, first served. Without such a replica it
waits for its model: the first one that does stops the run, so that the model is asked for. A slot takes one request at
a time: batches do not form.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final, NamedTuple

import numpy as np

from trimtab.sim.kernels.books import (
    ANSWER_LIMIT,
    ARRIVED,
    BUSY,
    COLD,
    DRAINING,
    EARLIEST,
    ENDED,
    FACTOR,
    FAILED,
    GONE,
    HAND,
    IS_DRAINING,
    IS_READY,
    MOST_HAND,
    NOBODY,
    NOW,
    POSITION,
    QUEUE_MOST,
    QUEUED,
    READY,
    REFUSED,
    REQUESTS,
    SLOTS,
    TRIP,
    WAIT_LIMIT,
    WASTED_S,
    WORKING,
    Books,
)
from trimtab.sim.kernels.compiled import compiled
from trimtab.sim.kernels.counting import advance, answer, out_of_hand
from trimtab.sim.kernels.heap import drop, push
from trimtab.sim.kernels.queue import DONE, MORE, SETTLED, TRIPPED
from trimtab.sim.load import Floats
from trimtab.sim.world import Ints

MISSED: Final = 10  # a request waits for a model that nobody holds: `Hosts.what`
IDLED: Final = 11  # a model in `what` has nothing in hand any more on the replica in `where`, and that is to be told
CROWDED: Final = 12  # no room for another request

NONE: Final = 0  # of a copy
HELD: Final = 1  # takes requests
LEAVING: Final = 2  # finishes what it has

# Of `Hosts.at`.
WHAT: Final = 0
WHERE: Final = 1
SPARE: Final = 2  # the first node that nobody has
RELOADING: Final = 3  # replicas that load a model again, and have nothing in hand
LOADING: Final = 4  # for the first time
RELOAD_S: Final = 0
LOAD_S: Final = 1


class Hosts(NamedTuple):
    """All state of one endpoint. `i` and `f` and what follows them are as in `Books`."""

    i: Ints
    f: Floats
    counts: Ints
    sums: Floats
    histogram: Floats
    lately: Floats
    within_s: Floats
    at: Ints
    seconds: Floats
    state: Ints  # by replica
    load: Ints  # slots that work
    all_hand: Ints  # requests, queued and in work
    head: Ints  # of its queue: a list of nodes
    tail: Ints
    watched: Ints  # whether it is to be told at once of a model that is idle
    loads: Ints  # by replica: models that it loads for the first time,
    reloads: Ints  # and again
    hand: Ints  # by replica and model
    sent: Ints  # since its cache was told
    copy: Ints
    holders: Ints  # by model: replicas, as it prefers them,
    held: Ints  # how many they are,
    use: Ints  # and how many of them get requests first
    most: Ints  # by model: slots that it may take of a replica,
    first_s: Floats  # and how much longer its first request takes after a load
    working: Ints  # by replica and model: slots that it takes,
    fresh: Ints  # and whether it has had no request since it was loaded
    wait_head: Ints  # by model: requests that wait for it
    wait_tail: Ints
    node_at: Floats  # a request in hand
    node_takes: Floats
    node_model: Ints
    node_where: Ints
    node_next: Ints
    ends: Floats  # a heap
    ends_node: Ints


def hosts(like: Books, *, most: Sequence[int], first_s: Sequence[float], replicas: int = 8, nodes: int = 4096) -> Hosts:
    """Empty ones, with the figures of `like`. `most` and `first_s`: by model, see Hosts."""
    models = len(most)

    def numbers(*shape: int, value: int = 0) -> Ints:
        return np.full(shape, value, dtype=np.int64)

    made = Hosts(
        i=like.i, f=like.f, counts=like.counts, sums=like.sums, histogram=like.histogram, lately=like.lately,
        within_s=like.within_s, at=numbers(5), seconds=np.zeros(2), state=numbers(replicas), load=numbers(replicas),
        all_hand=numbers(replicas), head=numbers(replicas, value=NOBODY), tail=numbers(replicas, value=NOBODY),
        watched=numbers(replicas), loads=numbers(replicas), reloads=numbers(replicas),
        hand=numbers(replicas, models), sent=numbers(replicas, models), copy=numbers(replicas, models),
        holders=numbers(models, replicas), held=numbers(models), use=numbers(models, value=1),
        most=np.array(most, dtype=np.int64), first_s=np.array(first_s, dtype=np.float64),
        working=numbers(replicas, models), fresh=numbers(replicas, models),
        wait_head=numbers(models, value=NOBODY), wait_tail=numbers(models, value=NOBODY), node_at=np.zeros(0),
        node_takes=np.zeros(0), node_model=numbers(0), node_where=numbers(0), node_next=numbers(0), ends=np.zeros(0),
        ends_node=numbers(0),
    )  # fmt: skip
    made.at[SPARE] = NOBODY
    return with_nodes(made, nodes)


def with_nodes(old: Hosts, most: int) -> Hosts:
    """The same with room for `most` requests in hand. All of `old`'s nodes are taken, or there are none."""
    had = len(old.node_at)

    def longer(array: Any) -> Any:
        return np.concatenate([array, np.zeros(most - had, dtype=array.dtype)])

    names = ("node_at", "node_takes", "node_model", "node_where", "node_next", "ends", "ends_node")
    made = old._replace(**{name: longer(getattr(old, name)) for name in names})
    made.node_next[had:] = np.append(np.arange(had + 1, most), NOBODY)
    made.at[SPARE] = had
    return made


def with_replicas(old: Hosts, most: int) -> Hosts:
    """The same with room for `most` replicas."""
    more = most - len(old.state)
    changed: dict[str, Any] = {}
    for name in ("state", "load", "all_hand", "watched", "loads", "reloads"):
        changed[name] = np.pad(getattr(old, name), (0, more))
    for name in ("head", "tail"):
        changed[name] = np.pad(getattr(old, name), (0, more), constant_values=NOBODY)
    for name in ("hand", "sent", "copy", "working", "fresh"):
        changed[name] = np.pad(getattr(old, name), ((0, more), (0, 0)))
    changed["holders"] = np.pad(old.holders, ((0, 0), (0, more)))
    return old._replace(**changed)


@compiled
def _advance(h: Hosts, to_s: float) -> None:
    span_s = to_s - h.f[NOW]
    if span_s > 0:
        h.seconds[RELOAD_S] += h.at[RELOADING] * span_s
        h.seconds[LOAD_S] += h.at[LOADING] * span_s
    advance(h, to_s)


@compiled
def _quiet(h: Hosts, replica: int, by: int) -> None:
    """A replica has (1), or has no longer (-1), nothing in hand."""
    if h.reloads[replica] > 0:
        h.at[RELOADING] += by
    elif h.loads[replica] > 0:
        h.at[LOADING] += by


@compiled
def loading(h: Hosts, replica: int, by: int, again: bool) -> None:
    """A replica loads a model more (1) or less (-1)."""
    if h.load[replica] == 0:
        _quiet(h, replica, -1)
    if again:
        h.reloads[replica] += by
    else:
        h.loads[replica] += by
    if h.load[replica] == 0:
        _quiet(h, replica, 1)


@compiled
def _free(h: Hosts, node: int) -> None:
    h.node_next[node] = h.at[SPARE]
    h.at[SPARE] = node


@compiled
def _begin(h: Hosts, replica: int) -> None:
    """Free slots of a replica take what waits there, but for models that have all of theirs; what has waited too long
    fails."""
    i, f = h.i, h.f
    before, after = NOBODY, h.head[replica]
    while after != NOBODY and h.load[replica] < i[SLOTS]:
        node, after = after, h.node_next[after]
        model = h.node_model[node]
        is_late = f[NOW] - h.node_at[node] > f[WAIT_LIMIT]
        if h.working[replica, model] >= h.most[model] and not is_late:
            before = node
            continue
        if before == NOBODY:
            h.head[replica] = after
        else:
            h.node_next[before] = after
        if after == NOBODY:
            h.tail[replica] = before
        i[QUEUED] -= 1
        if is_late:
            h.counts[model, FAILED] += 1
            h.hand[replica, model] -= 1
            h.all_hand[replica] -= 1
            _free(h, node)
            out_of_hand(h, 1)
            continue
        if h.load[replica] == 0:
            i[BUSY] += 1
            _quiet(h, replica, -1)
        h.load[replica] += 1
        h.working[replica, model] += 1
        if h.fresh[replica, model]:
            h.fresh[replica, model] = 0
            h.node_takes[node] += h.first_s[model]
        i[WORKING] = push(h.ends, h.ends_node, i[WORKING], f[NOW] + h.node_takes[node] * f[FACTOR], node)


@compiled
def _send(h: Hosts, node: int) -> None:
    """To one of those that hold its model."""
    model = h.node_model[node]
    chosen, least, least_all = NOBODY, 0, 0
    for place in range(min(h.use[model], h.held[model])):
        replica = h.holders[model, place]
        hand, all_hand = h.hand[replica, model], h.all_hand[replica]
        if chosen == NOBODY or hand < least or (hand == least and all_hand < least_all):
            chosen, least, least_all = replica, hand, all_hand
    h.node_where[node] = chosen
    h.node_next[node] = NOBODY
    h.hand[chosen, model] += 1
    h.sent[chosen, model] += 1
    h.all_hand[chosen] += 1
    if h.tail[chosen] == NOBODY:
        h.head[chosen] = node
    else:
        h.node_next[h.tail[chosen]] = node
    h.tail[chosen] = node
    _begin(h, chosen)


@compiled
def release(h: Hosts, model: int) -> None:
    """Requests that wait for a model go to those that hold it."""
    while h.wait_head[model] != NOBODY and h.held[model] > 0:
        node = h.wait_head[model]
        h.wait_head[model] = h.node_next[node]
        _send(h, node)
    if h.wait_head[model] == NOBODY:
        h.wait_tail[model] = NOBODY


@compiled
def refuse(h: Hosts, model: int) -> None:
    """Requests that wait for a model fail: nobody can load it."""
    while h.wait_head[model] != NOBODY:
        node = h.wait_head[model]
        h.wait_head[model] = h.node_next[node]
        h.i[QUEUED] -= 1
        h.counts[model, FAILED] += 1
        _free(h, node)
        out_of_hand(h, 1)
    h.wait_tail[model] = NOBODY


@compiled
def _go(h: Hosts, replica: int) -> bool:
    h.state[replica] = GONE
    h.i[DRAINING] -= 1
    return bool(h.i[DRAINING] == 0)


@compiled
def leave(h: Hosts, replica: int) -> bool:
    """A replica takes nothing more. Whether it is gone at once, and was the last that drains."""
    h.state[replica] = IS_DRAINING
    h.i[READY] -= 1
    h.i[DRAINING] += 1
    return h.all_hand[replica] == 0 and _go(h, replica)


@compiled
def kill(h: Hosts, replica: int) -> None:
    """A replica is dead at once, and what it has in hand is lost."""
    i, f = h.i, h.f
    if h.state[replica] == IS_READY:
        i[READY] -= 1
        i[DRAINING] += 1
    size = i[WORKING]
    i[WORKING] = 0
    for place in range(size):
        node, end_s = h.ends_node[place], h.ends[place]
        if h.node_where[node] != replica:
            i[WORKING] = push(h.ends, h.ends_node, i[WORKING], end_s, node)
            continue
        f[WASTED_S] += max(0.0, h.node_takes[node] * f[FACTOR] - (end_s - f[NOW]))
        h.counts[h.node_model[node], FAILED] += 1
        _free(h, node)
        out_of_hand(h, 1)
    while h.head[replica] != NOBODY:
        node = h.head[replica]
        h.head[replica] = h.node_next[node]
        i[QUEUED] -= 1
        h.counts[h.node_model[node], FAILED] += 1
        _free(h, node)
        out_of_hand(h, 1)
    h.tail[replica] = NOBODY
    if h.load[replica] > 0:
        i[BUSY] -= 1
    else:
        _quiet(h, replica, -1)
    h.load[replica] = h.all_hand[replica] = h.loads[replica] = h.reloads[replica] = 0
    h.hand[replica] = h.working[replica] = 0
    _go(h, replica)


@compiled
def _finish(h: Hosts) -> int:
    i, f = h.i, h.f
    node = h.ends_node[0]
    i[WORKING] = drop(h.ends, h.ends_node, i[WORKING])
    replica, model = h.node_where[node], h.node_model[node]
    took_s = f[NOW] - h.node_at[node]
    if took_s > f[ANSWER_LIMIT]:
        h.counts[model, FAILED] += 1
        f[WASTED_S] += h.node_takes[node] * f[FACTOR]
    else:
        answer(h, model, took_s)
    _free(h, node)
    out_of_hand(h, 1)
    h.load[replica] -= 1
    h.all_hand[replica] -= 1
    h.hand[replica, model] -= 1
    h.working[replica, model] -= 1
    if h.load[replica] == 0:
        i[BUSY] -= 1
        _quiet(h, replica, 1)
    _begin(h, replica)
    if h.state[replica] == IS_DRAINING and h.all_hand[replica] == 0:
        return SETTLED if _go(h, replica) else DONE
    if h.hand[replica, model] == 0 and (h.watched[replica] or h.copy[replica, model] == LEAVING):
        h.at[WHAT], h.at[WHERE] = model, replica
        return IDLED
    return DONE


@compiled
def _arrive(h: Hosts, at_s: float, takes: float, model: int) -> bool:
    """Whether it is the first one that waits for its model."""
    i = h.i
    i[ARRIVED] += 1
    h.counts[model, REQUESTS] += 1
    if i[QUEUED] >= i[QUEUE_MOST]:
        h.counts[model, REFUSED] += 1
        i[ENDED] += 1
        return False
    node = h.at[SPARE]
    h.at[SPARE] = h.node_next[node]
    h.node_at[node], h.node_takes[node], h.node_model[node], h.node_next[node] = at_s, takes, model, NOBODY
    i[QUEUED] += 1
    i[HAND] += 1
    if i[HAND] > i[MOST_HAND]:
        i[MOST_HAND] = i[HAND]
    if h.held[model] > 0:
        _send(h, node)
    else:
        h.counts[model, COLD] += 1
        if h.wait_tail[model] == NOBODY:
            h.wait_head[model] = node
        else:
            h.node_next[h.wait_tail[model]] = node
        first = h.wait_tail[model] == NOBODY
        h.wait_tail[model] = node
        if first:
            h.at[WHAT] = model
            return True
    return False


@compiled
def run(h: Hosts, at_s: Floats, takes: Floats, which: Ints, until_s: float, is_last: bool) -> int:
    """As `queue.run`."""
    i, f = h.i, h.f
    while True:
        place = i[POSITION]
        if place < len(at_s):
            came_s = at_s[place]
        elif is_last:
            came_s = inf
        else:
            return MORE
        stop_s = until_s if i[HAND] <= i[TRIP] else min(until_s, max(f[EARLIEST], f[NOW]))
        end_s = h.ends[0] if i[WORKING] > 0 else inf
        if min(came_s, end_s) > stop_s:
            _advance(h, stop_s)
            return DONE if stop_s == until_s else TRIPPED
        _advance(h, min(came_s, end_s))
        if end_s <= came_s:
            why = _finish(h)
            if why != DONE:
                return why
        elif h.at[SPARE] == NOBODY:
            return CROWDED
        else:
            i[POSITION] += 1
            if _arrive(h, came_s, takes[place], which[place]):
                return MISSED
