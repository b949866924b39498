"""What a multi-model variant reports and signals: of all its models together."""

from trimtab.errors import ModelFailed
from trimtab.gateway.signalled import Signalled
from trimtab.wire.merging import SINGLES_MOST, merge_models, merge_variants
from trimtab.wire.reports import ModelsReport, Tally


def report_of(hosts):
    (report,) = hosts.bench.gateway.reports()
    return report


async def test_a_report_counts_the_requests_of_all_models(hosts, echoing):
    host = await hosts.open()
    for model in "ab":
        await hosts.load(host, model, echoing)
    await host.until(lambda: hosts.held == [{"a", "b"}])
    for model in "aab":
        await hosts.ask(model).outcome()
    await hosts.load(host, "bad", lambda got: got.fail(500, b"no"))
    assert isinstance(await hosts.ask("bad").outcome(), ModelFailed)
    report = report_of(hosts)
    (version,) = report.versions
    assert (report.received, version.ended, version.latency.count, version.server_faults) == (4, 4, 3, 1)
    assert report.busy_s.keys() == {"h0"}
    assert report.models.busy_s.keys() == {"a", "b", "bad"}
    assert all(took_s > 0 for took_s in report.models.busy_s.values())


async def test_tokens_are_counted_by_model(hosts):
    host = await hosts.open()
    await hosts.load(host, "a", lambda got: got.answer(b"x", custom_attributes="input_tokens=2, output_tokens=5"))
    await host.until(lambda: hosts.held == [{"a"}])
    for _ in range(2):
        await hosts.ask("a").outcome()
    report = report_of(hosts)
    assert report.models.tokens == {"a": (4, 10)}
    assert report.versions[0].output_tokens == 10


async def test_hits_and_misses_are_counted_and_how_long_a_miss_waited(hosts, echoing):
    host = await hosts.open()
    await hosts.load(host, "a", echoing)
    await host.until(lambda: hosts.held == [{"a"}])
    hits = [hosts.ask("a") for _ in range(3)]
    misses = [hosts.ask("b") for _ in range(2)]
    await hosts.load(host, "b", echoing)
    for call in (*hits, *misses):
        await call.outcome()
    assert await hosts.ask("b").outcome() == b"x"
    models = report_of(hosts).models
    assert (models.hits, models.misses, models.waits.count) == (4, 2, 2)
    assert models.models == {"a": (3, 0), "b": (1, 2)}
    assert 0 < models.waits.min <= models.waits.max < 5e6
    await hosts.ask("a").outcome()
    later = report_of(hosts).models
    assert (later.hits, later.misses, later.waits.count, later.models) == (1, 0, 0, {"a": (1, 0)})


async def test_reports_of_models_add_up(hosts, echoing):
    host = await hosts.open()
    await hosts.load(host, "a", echoing)
    await host.until(lambda: hosts.held == [{"a"}])
    await hosts.ask("a").outcome()
    one = report_of(hosts)
    await hosts.ask("a").outcome()
    two = report_of(hosts)
    merge_variants(one, two)
    assert (one.models.hits, one.models.models) == (2, {"a": (2, 0)})


async def test_what_waits_for_any_model_is_waiting(hosts, echoing):
    host = await hosts.open()
    worker = await hosts.load(host, "a")
    await host.until(lambda: hosts.held == [{"a"}])
    calls = [hosts.ask(model) for model in ("a", "a", "b", "c")]
    await worker.until(lambda: worker.got)
    variant = hosts.variant
    assert (variant.waiting, variant.in_hand, variant.counted()) == (3, 4, (4, 0))
    worker.on_request = echoing
    worker.got[0].answer(b"x")
    for model in "bc":
        await hosts.load(host, model, echoing)
    for call in calls:
        assert await call.outcome() == b"x"
    assert (variant.waiting, variant.in_hand, variant.counted()) == (0, 0, (4, 4))
    report = report_of(hosts)
    assert (report.waiting.most, report.in_hand.most) == (4, 4)  # the first waited for its lane to connect


async def test_a_replica_is_busy_while_any_of_its_models_is(hosts):
    now_s = 100.0
    host = await hosts.open()
    workers = [await hosts.load(host, model) for model in "ab"]
    await host.until(lambda: hosts.held == [{"a", "b"}])
    calls = [hosts.ask(model) for model in "ab"]
    for worker in workers:
        await worker.until(lambda worker=worker: worker.got)
    (link,) = hosts.variant.lanes
    assert (link.outstanding, link.in_hand) == (2, 2)
    link.busy_since_s, link._now_s = now_s, lambda: now_s + 2.0
    workers[0].got[0].answer(b"y")
    await calls[0].outcome()
    assert link.busy_so_far_s(now_s + 2.0) == 2.0  # not 4: two models at once are one busy replica
    workers[1].got[0].answer(b"y")
    await calls[1].outcome()
    assert (link.outstanding, link.busy_so_far_s(now_s + 9.0)) == (0, 2.0)


async def test_signals_tell_what_is_in_hand_of_all_models(hosts):
    await hosts.open()
    signalled = Signalled("e", "v", hosts.variant, 0.0)
    for model in "abc":
        hosts.ask(model)
    assert signalled.look(1.0)
    level = signalled.tell(1.0)
    assert (level.now, level.waiting, level.arrived) == (3, 3, 3)


async def test_a_report_says_which_model_was_asked_when(hosts, echoing):
    host = await hosts.open()
    hosts.variant._wall_s = lambda: hosts.variant._now_s() + 1_700_000_000.0  # no step of the wall clock can disturb it
    for model in "ab":
        await hosts.load(host, model, echoing)
    await host.until(lambda: hosts.held == [{"a", "b"}])
    began_s = hosts.variant._wall_s()
    for model in "aba":
        await hosts.ask(model).outcome()
    ended_s = hosts.variant._wall_s()
    came_ms = report_of(hosts).models.came_ms
    assert {model: len(moments) for model, moments in came_ms.items()} == {"a": 2, "b": 1}
    first, last = came_ms["a"]
    assert began_s * 1e3 - 1 <= first <= came_ms["b"][0] <= last <= ended_s * 1e3 + 1
    await hosts.ask("a").outcome()
    assert [len(moments) for moments in report_of(hosts).models.came_ms.values()] == [1]


async def test_of_very_many_requests_a_report_has_the_moments_of_the_first(hosts, echoing, monkeypatch):
    monkeypatch.setattr("trimtab.gateway.models.hosted_variant._MOMENTS", 3)
    host = await hosts.open()
    await hosts.load(host, "a", echoing)
    await host.until(lambda: hosts.held == [{"a"}])
    for _ in range(5):
        await hosts.ask("a").outcome()
    models = report_of(hosts).models
    assert (models.models, len(models.came_ms["a"])) == ({"a": (5, 0)}, 3)


async def test_the_first_request_after_a_load_is_timed_apart(hosts, echoing):
    host = await hosts.open()
    await hosts.load(host, "there", echoing)
    await host.until(lambda: hosts.held == [{"there"}])
    await hosts.ask("there").outcome()  # it was loaded for others
    missed = [hosts.ask("a") for _ in range(3)]
    await hosts.load(host, "a", echoing)
    for call in missed:
        await call.outcome()
    await hosts.ask("a").outcome()
    firsts = report_of(hosts).models.firsts
    assert firsts.count == 1
    assert 0 < firsts.max < 5e6


def test_moments_of_merged_reports_are_all_there():
    one = ModelsReport(came_ms={"a": [1, 2]}, firsts=Tally(1, 5.0, 5.0, 5.0, {40: 1}))
    merge_models(one, ModelsReport(came_ms={"a": [3], "b": [4]}, firsts=Tally(1, 7.0, 7.0, 7.0, {41: 1})))
    assert one.came_ms == {"a": [1, 2, 3], "b": [4]}
    assert (one.firsts.count, one.firsts.max) == (2, 7.0)


def test_a_merged_report_tells_of_so_many_requests_one_by_one_and_no_more():
    one = ModelsReport(came_ms={"a": list(range(SINGLES_MOST - 1))})
    merge_models(one, ModelsReport(came_ms={"a": [3, 4], "b": [5]}))
    assert {model: len(moments) for model, moments in one.came_ms.items()} == {"a": SINGLES_MOST}
    merge_models(one, ModelsReport(came_ms={"b": [5]}))
    assert list(one.came_ms) == ["a"]
