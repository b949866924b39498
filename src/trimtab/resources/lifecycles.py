"""Lifecycles as tables. An arrow that nobody drew raises."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from trimtab.errors import Broken
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.replica import ReplicaState as R

S = TypeVar("S", bound=StrEnum)

ENDPOINT: Mapping[E, frozenset[E]] = {
    E.CREATING: frozenset({E.IN_SERVICE, E.FAILED, E.DELETING}),
    E.IN_SERVICE: frozenset({E.UPDATING, E.SYSTEM_UPDATING, E.DELETING}),
    E.UPDATING: frozenset({E.IN_SERVICE, E.ROLLING_BACK, E.FAILED}),  # Failed: a Failed endpoint's update failed too
    E.SYSTEM_UPDATING: frozenset({E.IN_SERVICE}),
    E.ROLLING_BACK: frozenset({E.IN_SERVICE, E.UPDATE_ROLLBACK_FAILED}),
    E.UPDATE_ROLLBACK_FAILED: frozenset({E.UPDATING, E.DELETING}),
    E.OUT_OF_SERVICE: frozenset({E.UPDATING, E.DELETING}),
    E.FAILED: frozenset({E.DELETING, E.UPDATING}),
    E.DELETING: frozenset(),
}

REPLICA: Mapping[R, frozenset[R]] = {
    R.STARTING: frozenset({R.READY, R.FAILED, R.DRAINING, R.GONE}),
    R.READY: frozenset({R.DRAINING, R.FAILED, R.GONE}),
    R.DRAINING: frozenset({R.GONE, R.FAILED}),
    R.FAILED: frozenset({R.GONE}),
    R.GONE: frozenset(),
}


def step(table: Mapping[S, frozenset[S]], old: S, new: S) -> S:
    """Return `new` if the table draws an arrow from `old` to it (staying put is one); raise Broken otherwise."""
    if new is not old and new not in table[old]:
        raise Broken(f"no arrow from {old.value} to {new.value}")
    return new
