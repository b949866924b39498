"""Pages of a listing, whatever happens between two of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws.paging import Pager
from trimtab.errors import Invalid

names = st.sets(st.text(min_size=1, max_size=4), max_size=30)
PAGER = Pager(b"secret")


def page(items, *, descending=False, limit=3, token="", pager=PAGER, listing="list"):
    return pager.page(
        items, listing=listing, place=lambda item: (item,), descending=descending, limit=limit, token=token
    )


@given(stay=names, come=names, go=names, descending=st.booleans(), limit=st.integers(1, 7), data=st.data())
def test_what_is_there_all_the_time_is_listed_exactly_once(stay, come, go, descending, limit, data) -> None:
    now = stay | go
    seen: list[str] = []
    found, token = page(now, descending=descending, limit=limit)
    while True:
        seen.extend(found)
        if not token:
            break
        now = stay | {item for item in come | go if data.draw(st.booleans())}
        found, token = page(now, descending=descending, limit=limit, token=token)
    assert [item for item in seen if item in stay] == sorted(stay, reverse=descending)
    assert len(seen) == len(set(seen))


@given(junk=st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda raw: raw.hex())).filter(bool))
def test_no_forged_token_is_taken(junk) -> None:
    with pytest.raises(Invalid, match="NextToken"):
        page({"a", "b"}, token=junk)


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_altered_token_is_taken(position, bit) -> None:
    _, token = page({"a", "b"}, limit=1)
    altered = bytearray(token.encode())
    altered[position % len(altered)] ^= 1 << bit
    with pytest.raises(Invalid, match="NextToken"):
        page({"a", "b"}, token=altered.decode("latin-1"))


def test_a_token_of_another_secret_listing_or_order_is_refused() -> None:
    _, token = page({"a", "b"}, limit=1)
    assert page({"a", "b"}, token=token)[0] == ["b"]
    for changed in ({"pager": Pager(b"other")}, {"listing": "other"}):
        with pytest.raises(Invalid, match="NextToken"):
            page({"a", "b"}, token=token, **changed)


def test_a_place_of_another_type_is_refused_not_a_crash() -> None:
    _, token = page({"a", "b"}, limit=1)
    with pytest.raises(Invalid, match="NextToken"):
        PAGER.page([1.0], listing="list", place=lambda item: (item,), descending=False, limit=1, token=token)


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="secret"):
        Pager(b"")
