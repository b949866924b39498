"""Lifecycles and names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Broken, Invalid
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.lifecycles import ENDPOINT, REPLICA, step
from trimtab.resources.names import check_name, key_of
from trimtab.resources.replica import ReplicaState as R


@given(st.sampled_from(E), st.sampled_from(E))
def test_an_endpoint_moves_along_drawn_arrows_only(old: E, new: E) -> None:
    if new is old or new in ENDPOINT[old]:
        assert step(ENDPOINT, old, new) is new
    else:
        with pytest.raises(Broken, match=f"no arrow from {old.value} to {new.value}"):
            step(ENDPOINT, old, new)


def test_every_state_has_a_row() -> None:
    assert set(ENDPOINT) == set(E)
    assert set(REPLICA) == set(R)


def test_what_is_gone_or_being_deleted_never_comes_back() -> None:
    assert ENDPOINT[E.DELETING] == frozenset()
    assert REPLICA[R.GONE] == frozenset()


@given(st.text(max_size=70) | st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", fullmatch=True))
def test_names_are_those_of_aws(name: str) -> None:
    if len(name) <= 63 and re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name):
        assert check_name("model", name) == name
    else:
        with pytest.raises(Invalid, match="model name"):
            check_name("model", name)


@given(st.text())
def test_names_that_differ_in_case_alone_are_the_same(name: str) -> None:
    assert key_of(name.upper()) == key_of(name.upper().lower())
