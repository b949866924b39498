"""`GET /_trimtab/v1/top`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_native_api import World

from trimtab.aws.native_top import top_query
from trimtab.control.top import TopQuery
from trimtab.errors import Invalid
from trimtab.resources.routing import AccessKey


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


async def test_top_shows_endpoints_variants_and_replicas(world) -> None:
    status, [document] = await world.get("/_trimtab/v1/top")
    assert status == 200
    [endpoint] = document["endpoints"]
    assert (endpoint["name"], endpoint["status"], endpoint["replicas_ready"]) == ("e", "InService", 1)
    [variant] = endpoint["variants"]
    assert [replica["id"] for replica in variant["replicas"]] == ["r1"]


async def test_an_unknown_endpoint_is_404(world) -> None:
    status, [document] = await world.get("/_trimtab/v1/top", "endpoint=nobody")
    assert (status, document["error"]["code"]) == (404, "NotFound")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("window_s=0", "window_s must be from 1 to 60"),
        ("window_s=61", "window_s must be from 1 to 60"),
        ("window_s=1.5", "window_s must be a whole number"),
        ("window_s=", "window_s must be a whole number"),
        ("limit=-1", "limit must be a whole number"),
        ("limit=99999999999999999999", "limit must be a whole number"),
        ("sort=age", "sort must be one of name, rate"),
        ("sorted=rate", "top knows no 'sorted'"),
    ],
)
async def test_what_makes_no_sense_is_400_and_says_what_would(world, query, said) -> None:
    status, [document] = await world.get("/_trimtab/v1/top", query)
    assert (status, document["error"]["code"]) == (400, "Invalid")
    assert said in document["error"]["message"]


async def test_a_key_sees_its_endpoints_only(world) -> None:
    world.key = AccessKey(id="K", secret="s", endpoints=("other-*",))
    status, [document] = await world.get("/_trimtab/v1/top")
    assert (status, document["endpoints"], document["endpoints_total"]) == (200, [], 0)
    status, [document] = await world.get("/_trimtab/v1/top", "endpoint=e")
    assert (status, document["error"]["code"]) == (403, "Denied")


@pytest.mark.parametrize("query", ["", "endpoint=e"])
async def test_a_key_that_may_only_invoke_sees_nothing(world, query) -> None:
    world.key = AccessKey(id="K", secret="s", actions=("sagemaker:InvokeEndpoint",))
    status, _ = await world.get("/_trimtab/v1/top", query)
    assert status == 403


@given(st.text(max_size=60))
def test_any_query_string_is_understood_or_refused(query: str) -> None:
    try:
        assert isinstance(top_query(query), TopQuery)
    except Invalid:
        pass
