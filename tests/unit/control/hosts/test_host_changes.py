"""Hosts hear of models that were overwritten or deleted, whoever saw it, and of no others."""

from trimtab.errors import Unavailable
from trimtab.objects.model import ALWAYS, Versioning
from trimtab.testing.artifacts import script
from trimtab.testing.model_hosts import HostsWorld, until
from trimtab.wire.hosting import Changed, Holding, ModelState, Resident, Settings


def holding(*residents: tuple[str, str], state: ModelState = ModelState.READY) -> Holding:
    return Holding(
        residents=tuple(Resident(model=model, version=version, state=state) for model, version in residents),
        memory_bytes=100,
        used_bytes=10,
    )


async def test_a_host_hears_of_uploads_and_deletions_below_its_prefix_alone(world: HostsWorld) -> None:
    host = await world.host()
    await host.hears(Settings)
    await world.objects.put("models", "other/a", b"1")
    await world.objects.put("models", "fraud", b"1")
    await world.objects.put("models", "fraud/", b"1")
    await world.upload("team/a.tar.gz", b"1")
    assert await host.hears(Changed) == Changed(model="team/a.tar.gz")
    await world.objects.delete_many("models", [("other/a", "", ALWAYS), ("fraud/team/a.tar.gz", "", ALWAYS)])
    assert await host.hears(Changed) == Changed(model="team/a.tar.gz", deleted=True)


async def test_a_deleted_marker_brings_the_model_back(world: HostsWorld) -> None:
    await world.objects.change_bucket("models", versioning=Versioning.ENABLED)
    host = await world.host()
    await host.hears(Settings)
    await world.upload("a", b"1")
    removal = await world.objects.delete("models", "fraud/a")
    await world.objects.delete("models", "fraud/a", removal.version_id)
    assert [await host.hears(Changed) for _ in range(3)] == [
        Changed(model="a"), Changed(model="a", deleted=True), Changed(model="a")
    ]  # fmt: skip


async def test_every_host_below_whose_prefix_it_is_hears_of_a_change_and_those_that_left_do_not(
    world: HostsWorld,
) -> None:
    one, other = await world.host("uid1-1-0"), await world.host("uid1-1-1")
    for host in (one, other):
        await host.hears(Settings)
    await world.upload("a", b"1")
    for host in (one, other):
        assert await host.hears(Changed) == Changed(model="a")
    await one.leave()
    await until(lambda: len(world.models._holdings) == 1)
    await world.upload("b", b"1")
    assert await other.hears(Changed) == Changed(model="b")


async def test_what_changed_while_no_control_saw_it_is_told_when_a_host_says_what_it_holds(world: HostsWorld) -> None:
    digests = {name: await world.upload(name, script(name)) for name in ("same", "overwritten", "deleted", "old", "x")}
    await world.stop()
    await world.objects.put("models", "fraud/overwritten", script("new"))
    await world.objects.delete("models", "fraud/deleted")
    await world.start()
    host = await world.host()
    await host.hears(Settings)
    residents = [(name, digests[name]) for name in ("same", "overwritten", "deleted")]
    two_versions = [("old", "an earlier version"), ("old", digests["old"])]
    host.say(holding(*residents, *two_versions, ("coming", "")))
    told = {(await host.hears(Changed)), (await host.hears(Changed))}
    assert told == {Changed(model="overwritten"), Changed(model="deleted", deleted=True)}
    host.say(holding(("x", "an earlier version")))  # from now on changes are told as they happen
    await world.upload("last", b"1")
    assert await host.hears(Changed) == Changed(model="last")


async def test_a_store_that_cannot_say_what_is_there_changes_nothing(world: HostsWorld) -> None:
    async def away(url: str) -> str:
        raise Unavailable("the store is away")

    world.models._changes._digest_of = away
    host = await world.host()
    await host.hears(Settings)
    host.say(holding(("a", "v1")))
    await until(
        lambda: host.hello.replica_id in {of.replica_id for of, h in world.models._holdings.items() if h.residents}
    )
    await world.upload("b", b"1")
    assert await host.hears(Changed) == Changed(model="b")
