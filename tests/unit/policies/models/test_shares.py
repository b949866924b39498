"""Whose part of one program's memory is whose."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.models.memory import Size
from trimtab.policies.models.shares import Shares


def test_a_model_takes_what_the_program_has_grown_by() -> None:
    shares = Shares()
    shares.began(Size(50))
    assert shares.loaded("a", Size(150), artifact_bytes=10) == Size(100)
    assert shares.loaded("b", Size(170, 30), artifact_bytes=90) == Size(20, 30)
    assert shares.measured(Size(170, 30)) == {"a": Size(100), "b": Size(20, 30)}


def test_what_an_unload_left_behind_is_nobodys_until_a_later_model_makes_use_of_it() -> None:
    shares = Shares()
    shares.began(Size(50))
    shares.loaded("a", Size(150), artifact_bytes=100)
    shares.ended("a")
    assert shares.loaded("small", Size(150), artifact_bytes=10) == Size(10)
    assert shares.loaded("a", Size(150), artifact_bytes=1) == Size(90)


def test_what_all_have_grown_by_since_is_divided_by_their_size() -> None:
    shares = Shares()
    shares.began(Size(0))
    shares.loaded("a", Size(300), artifact_bytes=0)
    shares.loaded("b", Size(400), artifact_bytes=0)
    assert shares.measured(Size(480)) == {"a": Size(360), "b": Size(120)}
    assert shares.measured(Size(400)) == {"a": Size(300), "b": Size(100)}


def test_a_program_that_was_started_again_holds_nothing() -> None:
    shares = Shares()
    shares.began(Size(50))
    shares.loaded("a", Size(150), artifact_bytes=100)
    shares.began(Size(40))
    assert shares.measured(Size(60)) == {}
    assert shares.loaded("b", Size(60), artifact_bytes=0) == Size(20)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 1000), st.integers(0, 100)), max_size=30)
)
def test_shares_are_never_negative_nor_more_than_the_program(steps) -> None:
    shares = Shares()
    shares.began(Size(10))
    loaded = set()
    for name, load, whole, artifact in steps:
        if load and name not in loaded:
            loaded.add(name)
            share = shares.loaded(name, Size(whole), artifact)
            assert 0 <= share.bytes <= max(0, whole - 10)
        elif not load:
            loaded.discard(name)
            shares.ended(name)
        parts = shares.measured(Size(whole))
        assert parts.keys() == loaded
        assert all(part.bytes >= 0 for part in parts.values())
