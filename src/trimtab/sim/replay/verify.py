"""Whether what was decided live is what the reducer decides again, given the same: bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from trimtab.control.scaling.entries import Began, Entry
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.event import EventState
from trimtab.policies.scaling.inputs import Input
from trimtab.policies.scaling.reducer import step
from trimtab.policies.scaling.state import State


class Difference(Struct, frozen=True, kw_only=True):
    """The first input whose decisions are not the same; or (without `given`) a state that is not."""

    at_s: float
    given: Input | None
    live: tuple[Decision, ...] = ()
    replayed: tuple[Decision, ...] = ()


class Agreement(Struct, frozen=True, kw_only=True):
    """What was compared, and where it first differed, if it did."""

    inputs: int
    decisions: int
    made: int
    restarts: int  # beginnings after the first: control was started anew, or somebody changed the state
    difference: Difference | None = None


class _Turn(Struct):
    given: Input
    rules: Rules
    live: list[Decision]


def state_of(packed: bytes) -> State:
    """The state of a `Began`. msgspec.MsgspecError for that of another version of trimtab."""
    state = msgspec.msgpack.decode(packed, type=State)
    events: dict[str, Any] = {arn: msgspec.convert(told, EventState) for arn, told in state.events.items()}
    return msgspec.structs.replace(state, events=events)


def verify(entries: Iterable[Entry]) -> Agreement:
    """Give the reducer all inputs of `entries` again, and compare."""
    state: State | None = None
    inputs = decisions = made = restarts = 0
    difference: Difference | None = None
    for turn in _turns(entries):
        if isinstance(turn, Began):
            restarts += state is not None
            state = state_of(turn.state)
            continue
        if state is None:
            continue  # before the first beginning there is nothing to begin with
        state, replayed = step(turn.rules, state, turn.given)
        inputs += 1
        decisions += len(replayed)
        made += sum(decision.made for decision in replayed)
        if tuple(turn.live) != replayed:
            at_s = turn.given.at_s
            difference = Difference(at_s=at_s, given=turn.given, live=tuple(turn.live), replayed=replayed)
            break
    return Agreement(inputs=inputs, decisions=decisions, made=made, restarts=restarts, difference=difference)


def _turns(entries: Iterable[Entry]) -> Iterator[Began | _Turn]:
    rules: Rules | None = None
    turn: _Turn | None = None
    for entry in entries:
        if isinstance(entry, Decision):
            if turn is not None:
                turn.live.append(entry)
            continue
        if turn is not None:
            yield turn
            turn = None
        if isinstance(entry, Began):
            rules = entry.rules
            yield entry
        elif isinstance(entry, Rules):
            rules = entry
        elif rules is not None:
            turn = _Turn(entry, rules, [])
    if turn is not None:
        yield turn
