"""What hosts are told to hold, and what users have set: durable, in force at once, and moved as replicas come and go."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.control.hosts.telling import _crews
from trimtab.errors import Invalid, NotFound
from trimtab.policies.models.settings import MAX_COPIES, check_setting
from trimtab.resources.hosting import EVERY_MODEL, ModelSetting
from trimtab.resources.replica import ReplicaState, ReplicaStatus, Wire
from trimtab.testing.model_hosts import HostsWorld
from trimtab.wire.hosting import Settings

PIN = ModelSetting(model="a", pinned=True)


async def test_a_pinned_model_is_held_by_one_replica_and_by_as_many_as_it_has_copies(world: HostsWorld) -> None:
    world.endpoint()
    hosts = [await world.host(world.replica(number)) for number in range(3)]
    for host in hosts:
        await host.hears(Settings)
    world.models.set("fraud", PIN)
    told = [await host.hears(Settings) for host in hosts]
    assert all(one.settings == (PIN,) for one in told)
    assert sorted(len(one.hold) for one in told) == [0, 0, 1]
    assert {"a": "pinned"} in [one.hold for one in told]
    copies = ModelSetting(model="a", min_copies=2)
    world.models.set("FRAUD", copies)
    told = [await host.hears(Settings) for host in hosts]
    assert all(one.settings == (copies,) for one in told)
    assert sorted(one.hold.get("a", "") for one in told) == ["", "copies", "copies"]
    world.models.unset("fraud", "a")
    assert [await host.hears(Settings) for host in hosts] == [Settings()] * 3
    assert world.woken == ["fraud"] * 3, "gateways are told, too"


async def test_the_environment_speaks_until_something_is_set_and_again_when_that_is_taken_back(
    world: HostsWorld,
) -> None:
    world.endpoint(TRIMTAB_PINNED_MODELS="a,b", TRIMTAB_MODEL_TTL_S="5")
    host = await world.host(world.replica())
    told = await host.hears(Settings)
    every = ModelSetting(model=EVERY_MODEL, ttl_s=5.0)
    assert told == Settings(
        settings=(every, PIN, ModelSetting(model="b", pinned=True)), hold={"a": "pinned", "b": "pinned"}
    )
    world.models.set("fraud", ModelSetting(model="b"))
    told = await host.hears(Settings)
    assert (told.settings, told.hold) == ((every, PIN, ModelSetting(model="b")), {"a": "pinned"})
    world.models.unset("fraud", "b")
    assert (await host.hears(Settings)).hold == {"a": "pinned", "b": "pinned"}


async def test_settings_outlive_control_and_not_the_endpoint(world: HostsWorld) -> None:
    record = world.endpoint()
    world.models.set("fraud", PIN)
    await world.restart()
    assert list(world.models.settings("fraud")) == [PIN]
    host = await world.host(world.replica())
    assert (await host.hears(Settings)).hold == {"a": "pinned"}
    world.store.remove_endpoint("fraud", revision=record.endpoint.revision)
    world.endpoint(uid="uid2")
    assert list(world.models.settings("fraud")) == []
    new = await world.host(world.replica(of="uid2-1"))
    assert await new.hears(Settings) == Settings()


async def test_what_a_lost_replica_held_is_held_by_another_and_the_rest_stays(
    world: HostsWorld,
) -> None:
    models = [f"m{number}" for number in range(30)]
    world.endpoint(TRIMTAB_PINNED_MODELS=",".join(models))
    ids = [world.replica(number) for number in range(3)]
    hosts = {id: await world.host(id) for id in ids}
    before = {id: set((await hosts[id].hears(Settings)).hold) for id in ids}
    assert set.union(*before.values()) == set(models)
    assert sum(map(len, before.values())) == 30, "each by one"
    await hosts[ids[0]].leave()
    world.engine.kill(ids[0])
    after = {id: set((await hosts[id].hears(Settings)).hold) for id in ids[1:]}
    assert set.union(*after.values()) == set(models)
    stayed = sum(len(before[id] & after[id]) for id in ids[1:])
    assert stayed >= 0.8 * sum(len(before[id]) for id in ids[1:]), "little moved that did not have to"


async def test_a_new_control_tells_the_first_host_that_is_back_what_it_told_it_before(world: HostsWorld) -> None:
    models = [f"m{number}" for number in range(30)]
    world.endpoint(TRIMTAB_PINNED_MODELS=",".join(models))
    ids = [world.replica(number) for number in range(3)]
    hosts = {id: await world.host(id) for id in ids}
    before = {id: await hosts[id].hears(Settings) for id in ids}
    await world.restart()
    for id in ids:
        again = await world.host(id)
        assert await again.hears(Settings) == before[id]


async def test_a_replica_that_starts_gets_its_share_before_it_is_ready_and_one_that_drains_gives_up_all(
    world: HostsWorld,
) -> None:
    world.endpoint(TRIMTAB_PINNED_MODELS=",".join(f"m{number}" for number in range(30)))
    old = await world.host(world.replica(0))
    assert len((await old.hears(Settings)).hold) == 30
    new_id = world.replica(1, ReplicaState.STARTING)
    new = await world.host(new_id)
    share = set((await new.hears(Settings)).hold)
    rest = set((await old.hears(Settings)).hold)
    assert 0 < len(share) < 30
    assert not share & rest
    assert len(share | rest) == 30
    world.replica(1)
    world.replica(0, ReplicaState.DRAINING)
    assert len((await new.hears(Settings)).hold) == 30
    assert (await old.hears(Settings)).hold == {}


async def test_replicas_of_an_update_hold_what_is_pinned_beside_those_they_replace(world: HostsWorld) -> None:
    world.endpoint(TRIMTAB_PINNED_MODELS="a")
    old = await world.host(world.replica(0))
    assert (await old.hears(Settings)).hold == {"a": "pinned"}
    stranger = await world.host(world.replica(0, of="uid1-9"))  # of a deployment that the record does not know
    assert await stranger.hears(Settings) == Settings()


async def test_settings_of_what_is_no_multi_model_endpoint_are_refused(world: HostsWorld) -> None:
    world.endpoint("single", multi_model=False)
    for ask in (
        lambda name: world.models.set(name, PIN),
        lambda name: world.models.unset(name, "a"),
        world.models.settings,
        world.models.hosts,
    ):
        with pytest.raises(Invalid, match="not a multi-model endpoint"):
            ask("single")
        with pytest.raises(NotFound):
            ask("nobody")


@pytest.mark.parametrize(
    "bad",
    [
        ModelSetting(model=""),
        ModelSetting(model="../a"),
        ModelSetting(model="/a"),
        ModelSetting(model="a\n"),
        ModelSetting(model="ü" * 513),
        ModelSetting(model="a", ttl_s=-1.0),
        ModelSetting(model="a", ttl_s=float("nan")),
        ModelSetting(model="a", ttl_s=float("inf")),
        ModelSetting(model="a", min_copies=-1),
        ModelSetting(model="a", max_copies=MAX_COPIES + 1),
        ModelSetting(model="a", min_copies=3, max_copies=2),
        ModelSetting(model=EVERY_MODEL, pinned=True),
        ModelSetting(model=EVERY_MODEL, ttl_s=1.0, max_copies=1),
    ],
)
async def test_what_cannot_be_set_is_refused_and_leaves_nothing(world: HostsWorld, bad: ModelSetting) -> None:
    world.endpoint()
    with pytest.raises(Invalid):
        world.models.set("fraud", bad)
    assert list(world.models.settings("fraud")) == []


def test_every_model_can_have_a_time_to_live() -> None:
    check_setting(ModelSetting(model=EVERY_MODEL, ttl_s=1.0))
    check_setting(ModelSetting(model="a", pinned=True, max_copies=1, ttl_s=1.0))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(ReplicaState)), st.booleans()), unique_by=lambda r: r[0])
)
def test_only_replicas_that_serve_or_soon_will_share_models(found: list[tuple[int, ReplicaState, bool]]) -> None:
    statuses = [
        ReplicaStatus(id=f"u-1-{n}", endpoint="e", variant="v", version="c", state=state, wire=Wire.MODELS)
        for n, state, _ in found
    ]

    class Connected:
        def __init__(self, replica_id: str) -> None:
            self.replica_id = replica_id

    hosts = [Connected(f"u-1-{n}") for n, _, connected in found if connected]
    expected = [
        f"u-1-{n}"
        for n, state, connected in found
        if state is ReplicaState.READY or (state is ReplicaState.STARTING and connected)
    ]
    assert _crews(statuses, hosts) == ({("u-1", "v"): expected} if expected else {})  # type: ignore[arg-type]
