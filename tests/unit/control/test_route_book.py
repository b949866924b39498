"""The route table: its file, its versions, and who has applied what."""

import stat
from pathlib import Path

import msgspec
import pytest

from trimtab.clock import ManualClock
from trimtab.control.route_book import RouteBook
from trimtab.resources.routing import AccessKey, EndpointRoute, RouteTable

A, B = EndpointRoute(name="a", variants=()), EndpointRoute(name="b", variants=())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def read(path: Path) -> RouteTable:
    return msgspec.msgpack.decode(path.read_bytes(), type=RouteTable)


def test_gateways_are_told_first_and_nothing_is_settled_before_the_file_is_there(
    tmp_path: Path, clock: ManualClock
) -> None:
    path = tmp_path / "routes"
    book = RouteBook(path, clock)
    settled: list[str] = []
    pushed: list[RouteTable] = []
    book.on_settled = settled.append
    book.on_publish = lambda: pushed.append(msgspec.msgpack.decode(book.packed, type=RouteTable))
    book.keep_later = lambda: None
    book.connected(1)
    before = read(path)
    book.publish("a", A)
    book.applied(1, book.table.version)
    assert pushed == [book.table]
    assert read(path) == before
    assert not book.settled("a")
    assert settled == []
    assert book.save()
    assert read(path) == book.table
    assert settled == ["a"]
    assert book.settled("a")


def test_the_file_holds_secrets_and_is_its_owners_only(tmp_path: Path, clock: ManualClock) -> None:
    book = RouteBook(tmp_path / "routes", clock, keys=[AccessKey(id="k", secret="s")])
    book.publish("a", A)
    assert stat.S_IMODE((tmp_path / "routes").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["routes"]


def test_what_has_not_changed_is_not_published_again(tmp_path: Path, clock: ManualClock) -> None:
    book = RouteBook(tmp_path / "routes", clock)
    book.publish("a", A)
    version = book.table.version
    book.publish("a", EndpointRoute(name="a", variants=()))
    book.publish("nobody", None)
    assert book.table.version == version


def test_versions_grow_over_restarts_even_when_the_file_is_lost(tmp_path: Path, clock: ManualClock) -> None:
    path, versions = tmp_path / "routes", []
    for restart in range(4):
        book = RouteBook(path, clock)
        versions.append(book.table.version)
        book.publish("a", A if restart % 2 else None)
        book.set_keys([AccessKey(id=str(restart), secret="s")])
        versions.append(book.table.version)
        clock.advance(0.01)
        if restart == 2:
            path.unlink()
    assert versions == sorted(set(versions))


def test_versions_grow_although_the_clock_was_set_back(tmp_path: Path) -> None:
    first = RouteBook(tmp_path / "routes", ManualClock(2_000_000_000.0)).table.version
    assert RouteBook(tmp_path / "routes", ManualClock(1_000_000_000.0)).table.version > first


def test_a_new_control_keeps_the_routes_of_the_last(tmp_path: Path, clock: ManualClock) -> None:
    RouteBook(tmp_path / "routes", clock).publish("a", A)
    book = RouteBook(tmp_path / "routes", clock, keys=[AccessKey(id="k", secret="s")], region="eu-west-1")
    assert book.route("a") == A
    assert read(tmp_path / "routes") == book.table
    assert book.table.region == "eu-west-1"


@pytest.mark.parametrize("damage", [b"", b"\xff\x00 nonsense", b"\x81\xa7version"])
def test_an_unreadable_file_is_made_anew(tmp_path: Path, clock: ManualClock, damage: bytes) -> None:
    path = tmp_path / "routes"
    path.write_bytes(damage)
    book = RouteBook(path, clock)
    assert read(path) == book.table
    assert book.table.version > 1_000_000


def test_when_the_disk_is_full_gateways_are_told_all_the_same_and_the_file_follows(
    tmp_path: Path, clock: ManualClock
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    book = RouteBook(folder / "routes", clock)
    told: list[int] = []
    book.on_publish = lambda: told.append(book.table.version)
    (folder / "routes").unlink()
    folder.rmdir()  # writing fails, whoever runs this
    book.publish("a", A)
    assert told == [book.table.version]
    assert not book.save()
    folder.mkdir()
    assert book.save()
    assert read(folder / "routes") == book.table


def test_settled_means_that_every_connected_gateway_has_applied_it(tmp_path: Path, clock: ManualClock) -> None:
    book = RouteBook(tmp_path / "routes", clock)
    settled: list[str] = []
    book.on_settled = settled.append
    book.connected(1)
    book.connected(2)
    book.publish("a", A)
    book.applied(1, book.table.version)
    assert not book.settled("a")
    assert settled == []
    book.applied(2, book.table.version)
    assert book.settled("a")
    assert settled == ["a"]


def test_a_change_to_another_endpoint_does_not_unsettle_this_one(tmp_path: Path, clock: ManualClock) -> None:
    book = RouteBook(tmp_path / "routes", clock)
    book.connected(1)
    book.publish("a", A)
    book.applied(1, book.table.version)
    book.publish("b", B)
    assert book.settled("a")
    assert not book.settled("b")


def test_a_gateway_that_leaves_holds_nothing_up(tmp_path: Path, clock: ManualClock) -> None:
    book = RouteBook(tmp_path / "routes", clock)
    book.connected(1)
    book.publish("a", A)
    settled: list[str] = []
    book.on_settled = settled.append
    book.disconnected(1)
    assert settled == ["a"]
    book.applied(1, 0)  # an acknowledgement that was on its way
    assert book.settled("a")


def test_a_removed_route_is_settled_only_when_all_have_let_go_of_it(tmp_path: Path, clock: ManualClock) -> None:
    book = RouteBook(tmp_path / "routes", clock)
    book.connected(1)
    book.publish("a", A)
    book.applied(1, book.table.version)
    book.publish("a", None)
    assert not book.settled("a")
    book.applied(1, book.table.version)
    assert book.settled("a")


def test_after_a_restart_nothing_counts_as_applied_until_the_gateways_are_back(
    tmp_path: Path, clock: ManualClock
) -> None:
    RouteBook(tmp_path / "routes", clock).publish("a", A)
    book = RouteBook(tmp_path / "routes", clock, expected_gateways=2, reconnect_s=2.0)
    assert not book.settled("a")
    assert book.recheck_in_s() == 2.0
    book.connected(1)
    book.applied(1, book.table.version)
    assert not book.settled("a")
    clock.advance(2.1)  # the other one has died: it does not hold things up for ever
    assert book.settled("a")
    assert book.recheck_in_s() is None


def test_the_very_first_start_waits_for_nobody(tmp_path: Path, clock: ManualClock) -> None:
    book = RouteBook(tmp_path / "routes", clock, expected_gateways=2)
    book.publish("a", A)
    assert book.settled("a")


def test_an_endpoint_that_left_the_table_before_a_restart_is_told_of_too(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "routes"
    before = RouteBook(path, clock)
    before.publish("a", A)
    before.publish("a", None)  # and here control dies, before anything of the endpoint is drained
    after, told = RouteBook(path, clock, expected_gateways=1), []
    after.on_settled = told.append
    assert not after.settled("a")  # a gateway that missed the last table may still be out there
    after.connected(1)
    assert not after.settled("a")
    after.applied(1, after.table.version)
    assert told == ["a"]
    assert after.settled("a")
