"""An endpoint of which some variants hold many models and others one."""

from collections import Counter

import pytest

from trimtab.errors import Invalid, NotFound, TargetModelMissing, TargetModelRefused
from trimtab.resources.routing import EndpointRoute, HostedRoute, VariantRoute


@pytest.fixture
async def mixed(hosts, bench, echoing):
    """Variants `one` and `two` hold one model, `many` and `more` hold many; `many` and `more` share one host."""
    host = await hosts.host()
    await host.load("a", lambda got: got.answer(b"of many"))
    worker = await bench.worker(lambda got: got.answer(b"of one"))

    async def route(**weights):
        hosting = HostedRoute(prefix="s3://b/p/")
        variants = tuple(
            VariantRoute(name=name, weight=weight, lanes=(host.lane(),), hosting=hosting)
            if name in ("many", "more")
            else VariantRoute(name=name, weight=weight, lanes=(worker.lane(),))
            for name, weight in weights.items()
        )
        await bench.gateway.apply(bench.table(EndpointRoute(name="e", variants=variants)))

    await route(one=1.0, many=1.0)
    return route


async def test_requests_that_name_a_model_and_those_that_do_not_are_both_answered_every_time(mixed, hosts, bench):
    for _ in range(10):
        assert await hosts.ask("a").outcome() == b"of many"
        assert await bench.ask().outcome() == b"of one"


async def test_variants_of_one_kind_share_their_requests_by_weight(mixed, hosts, bench):
    await mixed(one=5.0, many=1.0, more=3.0)
    for _ in range(40):
        assert await hosts.ask("a").outcome() == b"of many"
    received = Counter()
    for report in bench.gateway.reports():
        received[report.variant] += report.received
    assert received == {"many": 10, "more": 30}


async def test_a_variant_that_is_named_must_be_of_the_right_kind(mixed, hosts, bench):
    assert await hosts.ask("a", target_variant="many").outcome() == b"of many"
    refused = await hosts.ask("a", target_variant="one").outcome()
    assert type(refused) is TargetModelRefused
    assert "Variant one of endpoint e" in str(refused)
    assert type(await bench.ask(target_variant="many").outcome()) is TargetModelMissing
    assert type(await hosts.ask("a", target_variant="none").outcome()) is NotFound


async def test_where_all_variants_are_of_the_other_kind_the_request_is_refused(mixed, hosts, bench):
    await mixed(one=1.0, two=1.0)
    refused = await hosts.ask("a").outcome()
    assert type(refused) is TargetModelRefused
    assert str(refused).startswith("Endpoint e is not a multi-model endpoint")
    await mixed(many=1.0)
    assert type(await bench.ask().outcome()) is TargetModelMissing


async def test_where_those_of_the_right_kind_have_no_weight_it_says_which(mixed, hosts, bench):
    await mixed(one=1.0, many=0.0)
    refused = await hosts.ask("a").outcome()
    assert type(refused) is Invalid
    assert "Every variant with many models of endpoint e has weight 0" in str(refused)
    assert await bench.ask().outcome() == b"of one"
    await mixed(one=0.0, many=1.0)
    assert "Every variant with one model of endpoint e has weight 0" in str(await bench.ask().outcome())
    await mixed(one=0.0)
    assert "Every variant of endpoint e has weight 0" in str(await bench.ask().outcome())


async def test_requests_of_a_variant_that_goes_away_are_taken_by_another_of_its_kind(mixed, hosts, bench):
    await mixed(one=1.0, many=1.0)
    waiting = hosts.ask("b")
    await mixed(one=1.0, more=1.0)
    await hosts.hosts[0].load("b", lambda got: got.answer(b"of more"))
    assert await waiting.outcome() == b"of more"


async def test_a_request_that_another_variant_takes_over_is_one_request_of_its_model(mixed, hosts, bench):
    waiting = hosts.ask("b")
    await mixed(one=1.0, more=1.0)
    await hosts.hosts[0].load("b", lambda got: got.answer(b"of more"))
    assert await waiting.outcome() == b"of more"
    models = [report.models for report in bench.gateway.reports() if report.models is not None]
    assert sum(one.hits + one.misses for one in models) == 1
    assert sum(len(moments) for one in models for moments in one.came_ms.values()) == 1
