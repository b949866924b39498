"""What the ledger charges, and for what."""

from __future__ import annotations

from fractions import Fraction

from msgspec.structs import replace

from trimtab.control.costs.asking import DAYS_KEPT_S, HOURS_KEPT_S, CostQuery
from trimtab.control.costs.ledger import CONNECT_S
from trimtab.policies.costs.cells import HOUR_S, CellKey
from trimtab.policies.costs.split import IDLE_AFTER_S
from trimtab.resources.cost import Part, micro_usd
from trimtab.resources.replica import ReplicaState
from trimtab.resources.serverless import Serverless
from trimtab.testing.costs import LARGE, OTHER, LedgerWorld
from trimtab.wire.hosting import Holding, ModelEvent, ModelState, Resident
from trimtab.wire.reports import ModelsReport, Tally, VersionReport

PER_S = Fraction("0.115") * 1_000_000 / 3600


def near(amount: int, seconds: float, slack: int = 3) -> bool:
    """Whether so much is what a large instance costs in that time, roundings aside."""
    return abs(amount - float(PER_S) * seconds) <= slack


def test_a_replica_is_charged_from_its_order_to_its_end() -> None:
    world = LedgerWorld()
    replica = world.start()
    world.passes(4)
    world.becomes(replica, ReplicaState.READY)
    world.passes(20)
    world.ends(replica)
    world.passes(10)
    assert world.spent() == micro_usd(Fraction("0.115"), Fraction(24))
    assert near(world.parts()["cold-starts"], 4)
    assert near(world.parts()["headroom"], 20)


def test_a_replica_that_never_became_ready_costs_its_start() -> None:
    world = LedgerWorld()
    world.passes(CONNECT_S)
    replica = world.start()
    world.clock.advance(0.4)  # between two ticks
    world.becomes(replica, ReplicaState.FAILED)
    world.ends(replica)
    world.passes(5)
    assert world.parts() == {"cold-starts": micro_usd(Fraction("0.115"), Fraction("0.4"))}


def test_time_with_a_request_in_hand_is_serving() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(CONNECT_S)
    for _ in range(40):
        world.passes(1)
        world.answered(7, busy_s={replica: 0.25})
    world.passes(10)
    assert near(world.parts()["serving"], 10)
    assert sum(cell.requests for cell in world.cells().values()) == 280


def test_reports_that_come_late_are_counted_all_the_same() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(60)
    world.settle()
    world.reports({replica: 8.0}, span_s=20)  # most of it has been charged as headroom
    world.passes(60)
    assert near(world.parts()["serving"], 8)


def test_a_replica_without_requests_is_headroom_for_five_minutes_and_idle_after_that() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(100)
    world.answered(1, busy_s={replica: 1.0})
    world.passes(IDLE_AFTER_S + 600 + 3)
    world.settle()
    assert near(world.parts()["idle"], 600, slack=70)
    assert near(world.parts()["serving"], 1)


def test_several_processes_of_a_replica_share_its_cost() -> None:
    world = LedgerWorld()
    replica = world.start()
    world.replicas[replica] = replace(world.replicas[replica], addresses=("unix:/a", "unix:/b"))
    world.becomes(replica, ReplicaState.READY)
    world.passes(CONNECT_S)
    for _ in range(20):
        world.passes(1)
        world.reports({replica: 1.0})  # one of both was busy all the time
    world.passes(10)
    assert near(world.parts()["serving"], 10)


def test_the_old_version_beside_the_new_one_is_rollout() -> None:
    world = LedgerWorld()
    world.ready(generation=1)
    world.passes(30)
    record = world.records["fraud"]
    assert record.serving is not None
    incoming = replace(record.serving, config_name="v2", generation=2)
    world.records["fraud"] = replace(record, incoming=incoming)
    world.ready(generation=2)  # ready, and without traffic until the switch
    world.passes(5)
    world.records["fraud"] = replace(record, serving=incoming)
    world.passes(20)
    world.settle()
    rolled_out = {key.version: cell.parts.get("rollout", 0) for key, cell in world.cells().items()}
    assert near(rolled_out["v2"], 5, slack=40)
    assert near(rolled_out["v1"], 17, slack=40)


def test_another_price_counts_from_then_on() -> None:
    world = LedgerWorld()
    world.ready()
    world.passes(100)
    world.prices.hourly[LARGE] = Fraction("1.15")
    world.passes(103)
    world.settle()
    assert abs(world.spent() - float(PER_S) * (100 + 10 * 100)) <= 400  # it is seen within a second


def test_what_has_no_price_is_told_in_hours() -> None:
    world = LedgerWorld(instance_type="ml.unheard.large")
    world.ready()
    world.passes(63)
    world.settle()
    assert world.spent() == 0
    (cell,) = world.cells().values()
    assert cell.unpriced_us == cell.replica_us == 60_000_000
    world.prices.hourly["ml.unheard.large"] = Fraction(1)
    world.passes(63)
    assert world.spent() > 0


def test_the_gap_is_charged_when_control_is_back() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(30)
    world.store.commit()
    world.crash(away_s=1000.0)
    world.passes(CONNECT_S + 4)
    world.ends(replica)
    world.passes(5)
    assert world.spent() == micro_usd(Fraction("0.115"), Fraction(1044))


def test_what_died_while_control_was_away_is_charged_until_it_was_last_seen() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(30)
    world.store.commit()
    world.clock.advance(0.5)
    world.crash(away_s=86_400.0, then=lambda: world.ends(replica, told=False))
    world.passes(20)
    assert world.spent() == micro_usd(Fraction("0.115"), Fraction(30))


def test_a_replica_that_is_found_late_is_charged_once_all_the_same() -> None:
    for found_after_s in (4, 40):  # before and after what it was charged to was settled
        world = LedgerWorld()
        replica = world.ready()
        world.passes(30)
        world.store.commit()
        listed = dict(world.replicas)
        world.crash(away_s=2.0, then=world.replicas.clear)
        world.passes(found_after_s)
        world.settle()
        world.replicas.update(listed)
        world.ledger.look()
        world.passes(20)
        world.ends(replica)
        world.passes(10)
        assert world.spent() == micro_usd(Fraction("0.115"), Fraction(52 + found_after_s))


def test_a_machine_that_was_off_costs_nothing() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(30)
    world.store.commit()
    world.crash(away_s=5.0, boot="another", then=lambda: world.ends(replica, told=False))
    world.passes(20)
    assert world.spent() == micro_usd(Fraction("0.115"), Fraction(30))


def test_jumps_of_the_wall_clock_charge_nothing() -> None:
    world = LedgerWorld()
    replica = world.ready()
    for jump_s in (86_400.0, -7_200.0, 30.0):
        world.passes(20)
        world.clock.set_wall(world.clock.now_s() + jump_s)
    world.passes(20)
    world.ends(replica)
    world.passes(5)
    assert world.spent() == micro_usd(Fraction("0.115"), Fraction(80))


def test_hours_are_not_begun_anew_when_the_wall_clock_comes_to_them_again() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(60)
    world.settle()
    world.clock.set_wall(world.clock.now_s() - 86_400.0)
    world.store.commit()
    world.crash()
    world.passes(60)
    world.clock.set_wall(world.clock.now_s() + 86_400.0)
    world.passes(60)
    world.ends(replica)
    world.passes(5)
    assert world.spent() == micro_usd(Fraction("0.115"), Fraction(181))


def test_a_gap_is_shown_in_the_hours_that_it_was_in() -> None:
    world = LedgerWorld()
    world.ready()
    world.passes(30)
    world.store.commit()
    world.crash(away_s=3 * HOUR_S)
    world.passes(20)
    world.settle()
    hours = sorted(key.start_s for key in world.cells())
    assert [hour - hours[0] for hour in hours] == [0, HOUR_S, 2 * HOUR_S, 3 * HOUR_S]
    assert all(cell.replica_us <= HOUR_S * 1_000_000 for cell in world.cells().values())


def test_a_report_that_was_lost_with_control_is_counted_once_when_it_is_sent_again() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(CONNECT_S)
    world.answered(5, busy_s={replica: 1.0})
    world.store.commit()
    world.passes(1)
    world.answered(7, busy_s={replica: 0.5})  # not durable
    world.crash()
    world.passes(30)
    assert sum(cell.requests for cell in world.cells().values()) == 12
    assert near(world.parts()["serving"], 1.5)


def test_serverless_requests_are_billed_by_the_millisecond_and_environments_are_not() -> None:
    world = LedgerWorld(serverless=Serverless(memory_mib=2048, max_concurrency=5))
    world.ready()
    world.passes(20)
    for _ in range(3):
        world.reports(versions=[VersionReport(version="v1", ended=10, billed_ms=Tally(10, 333.0, 1.0, 90.0, {}))])
    world.passes(100)
    assert world.spent() == int(Fraction("0.00004") * 1_000_000 * Fraction(999, 1000))
    (cell,) = world.cells().values()
    assert (cell.billed_gb_us, cell.requests, cell.replica_us) == (3 * 666_000, 30, 0)
    assert cell.parts == {"serving": world.spent()}


def test_provisioned_environments_are_paid_for_while_they_are_wanted() -> None:
    world = LedgerWorld(serverless=Serverless(memory_mib=1024, max_concurrency=5, provisioned=2))
    world.passes(1)
    world.passes(101)
    world.settle()
    assert abs(world.spent() - 2 * 10 * 98) <= 1
    assert set(world.parts()) == {"headroom"}
    record = world.records["fraud"]
    (state,) = record.endpoint.variants
    rules = Serverless(memory_mib=1024, max_concurrency=5)
    variants = (replace(state, serverless=rules),)
    world.records["fraud"] = replace(record, endpoint=replace(record.endpoint, variants=variants))
    world.passes(100)
    assert abs(world.spent() - 2 * 10 * 102) <= 1


def _holds(world: LedgerWorld, replica: str, **sizes: int) -> None:
    residents = tuple(Resident(model=m, version="1", state=ModelState.READY, bytes=n) for m, n in sizes.items())
    world.ledger.holds(replica, Holding(residents=residents, memory_bytes=100, used_bytes=sum(sizes.values())))


def test_models_of_one_replica_share_it_by_use_and_by_memory() -> None:
    world = LedgerWorld()
    replica = world.ready()
    _holds(world, replica, a=60, b=20)
    world.passes(CONNECT_S)
    for _ in range(40):
        world.passes(1)
        world.reports(
            {replica: 0.5},
            versions=[VersionReport(version="v1", ended=4)],
            models=ModelsReport(hits=4, models={"a": (1, 0), "b": (3, 0)}, busy_s={"a": 0.125, "b": 0.375}),
        )
    world.passes(30)
    by_model = {key.model: cell for key, cell in world.cells().items()}
    assert near(by_model["a"].parts["serving"], 5, slack=6)
    assert near(by_model["b"].parts["serving"], 15, slack=6)
    ready = {model: cell.parts["headroom"] for model, cell in by_model.items()}
    assert abs(ready["a"] / ready["b"] - 3) < 0.03
    assert abs(ready[""] / ready["b"] - 1) < 0.03  # free memory is nobody's
    assert "serving" not in by_model[""].parts
    assert {model: cell.requests for model, cell in by_model.items()} == {"": 0, "a": 40, "b": 120}


def test_a_load_of_a_model_that_had_been_evicted_is_a_reload() -> None:
    world = LedgerWorld()
    replica = world.ready()
    _holds(world, replica, a=10)
    world.passes(30)

    def told(what: str, why: str, seq: int, load_s: float | None = None) -> None:
        event = ModelEvent(at_s=world.clock.now_s(), model="a", what=what, why=why, load_s=load_s, seq=seq)
        world.store.record((), notes=world.ledger.noted(replica, ("fraud", "main"), [event]))

    told("loaded", "asked", 1, load_s=2.0)
    world.passes(20)
    told("unloaded", "evicted", 2)
    world.passes(20)
    world.store.commit()
    world.crash()  # it is known to the next control, too
    world.passes(20)
    told("loaded", "asked", 3, load_s=3.0)
    told("unloaded", "deleted", 4)
    world.passes(20)
    told("loaded", "asked", 5, load_s=0.5)  # put there anew
    world.passes(20)
    world.settle()
    costs = {key.model: cell.parts for key, cell in world.cells().items()}
    assert near(costs["a"]["cold-starts"], 2.5, slack=40)
    assert near(costs["a"]["reloads"], 3, slack=40)


async def test_rows_sum_to_the_total_by_whatever_they_are_told() -> None:
    world = LedgerWorld()
    replica = world.ready()
    for _ in range(5):
        world.passes(1)
        world.answered(3, busy_s={replica: 0.3})
    world.passes(2 * HOUR_S, step_s=60)
    for by in (("endpoint",), ("version", "hour"), ("instance-type",), ("day", "model"), ()):
        report = await world.book().report(CostQuery(by=by))
        assert sum(row.micro_usd for row in report.rows) == report.total.micro_usd == world.spent()
        assert sum(report.total.parts.values()) == report.total.micro_usd
    assert report.total.requests == 15
    assert report.usd_per_hour == 0.115
    assert report.total.usd_per_1000_requests == report.total.micro_usd / 1e6 * 1000 / 15
    assert (await world.book().report(CostQuery(), lambda name: False)).rows == ()


async def test_hours_of_long_ago_are_told_by_days_and_nothing_is_lost() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(3 * HOUR_S, step_s=60)
    world.ends(replica)
    world.passes(5)
    spent = world.spent()
    world.clock.advance(HOURS_KEPT_S + 2 * 86_400)
    book = world.book()
    await book.tidy()
    await book.tidy()
    assert world.cells() == {}
    assert (await book.report(CostQuery(by=("day",)))).total.micro_usd == spent
    world.clock.advance(DAYS_KEPT_S)
    await book.tidy()
    assert (await book.report(CostQuery())).rows == ()


def test_an_endpoint_that_is_no_more_is_not_remembered_but_what_it_has_cost_is() -> None:
    world = LedgerWorld()
    replica = world.ready()
    world.passes(30)
    world.ends(replica)
    world.records.clear()
    world.passes(10)
    assert world.store.notes("cost/variant/") == {}
    assert world.ledger.usd_per_hour() == {}
    assert world.spent() == micro_usd(Fraction("0.115"), Fraction(30))


def test_totals_of_a_variant_go_on_over_restarts() -> None:
    world = LedgerWorld(instance_type=OTHER)
    world.ready()
    world.passes(60)
    world.store.commit()
    world.told.clear()
    world.crash()
    world.passes(30)
    world.settle()
    assert sum(world.told["fraud", "main"].values()) == world.spent()
    assert set(world.told["fraud", "main"]) <= {part.value for part in Part}


def test_cells_of_names_with_slashes_are_found_again() -> None:
    from trimtab.control.costs.notes import cell_key, cell_note

    key = CellKey(1_700_000_000 // HOUR_S * HOUR_S, "fraud", "main", "v1", "eu/2024/a.tar.gz")
    assert cell_key(cell_note(key)) == key
