"""Artifacts for model hosts: fetched once, leased as long as somebody reads them, refused in words."""

import asyncio
import stat
from pathlib import Path

from trimtab.control.hosts import reading
from trimtab.engines.local.layers import RequirementsFailed
from trimtab.resources.runtime import RuntimeKind
from trimtab.testing.artifacts import archive, script
from trimtab.testing.model_hosts import PREFIX, HostsWorld, until
from trimtab.wire.hosting import Fetch, Files, NoFiles, Release, Settings

MIB = 2**20


def leased(world: HostsWorld, path: str) -> int:
    return world.artifacts._folder._leases.get(Path(path).parent.name, 0)


async def test_only_its_owner_can_connect(world: HostsWorld) -> None:
    assert stat.S_IMODE(world.socket.stat().st_mode) == 0o600


async def test_a_model_is_brought_once_and_leased_for_each_who_asked(world: HostsWorld) -> None:
    digest = await world.upload("team/a.tar.gz", script("x = 1"))
    one, other = await world.host("uid1-1-0"), await world.host("uid1-1-1")
    one.say(Fetch(id=7, model="team/a.tar.gz"))
    first = await one.hears(Files)
    assert (first.id, first.version, first.fetched, first.layers, first.fresh) == (7, digest, True, (), False)
    assert (Path(first.path) / "code" / "inference.py").read_text() == "x = 1"
    assert first.size_bytes == len("x = 1")
    other.say(Fetch(id=1, model="team/a.tar.gz"), Fetch(id=2, model="team/a.tar.gz"))
    again = [await other.hears(Files), await other.hears(Files)]
    assert {(files.id, files.path, files.fetched) for files in again} == {
        (1, first.path, False),
        (2, first.path, False),
    }
    assert leased(world, first.path) == 3
    other.say(Release(path=first.path))
    await until(lambda: leased(world, first.path) == 2)
    other.say(Release(path=first.path), Release(path=first.path), Release(path="/nowhere"))  # more than it has: no harm
    await until(lambda: leased(world, first.path) == 1)


async def test_what_a_host_reads_is_not_evicted_and_what_it_has_released_is(world: HostsWorld) -> None:
    world.cache_bytes = 12 * MIB
    await world.restart()
    host = await world.host()
    for number, name in enumerate(("a", "b")):
        await world.upload(name, archive(weights_bin=bytes([number]) * 3 * MIB))
        host.say(Fetch(id=number, model=name))
    held, released = await host.hears(Files), await host.hears(Files)
    host.say(Release(path=released.path))
    await until(lambda: leased(world, released.path) == 0)
    await world.upload("c", archive(weights_bin=b"3" * MIB * 6))
    host.say(Fetch(id=3, model="c"))
    third = await host.hears(Files)
    assert Path(held.path).exists()
    assert Path(third.path).exists()
    assert not Path(released.path).exists()
    await world.upload("d", archive(weights_bin=b"4" * MIB * 6))
    host.say(Fetch(id=4, model="d"))
    refused = await host.hears(NoFiles)
    assert (refused.reason, refused.transient) == ("NoCapacity", True)
    assert "--artifact-cache-mib" in refused.message


async def test_what_is_not_there_is_refused_in_awss_words(world: HostsWorld) -> None:
    host = await world.host()
    host.say(Fetch(id=1, model="team/gone.tar.gz"))
    refused = await host.hears(NoFiles)
    assert (refused.id, refused.reason, refused.transient) == (1, "ArtifactMissing", False)
    key = "fraud/team/gone.tar.gz"
    assert refused.message.startswith(f"Failed to download model data (bucket: models, key: {key}). There is no object")


async def test_what_is_no_archive_is_refused_and_leased_to_nobody(world: HostsWorld) -> None:
    await world.upload("bad", b"this is no archive")
    host = await world.host()
    host.say(Fetch(id=1, model="bad"))
    refused = await host.hears(NoFiles)
    assert (refused.reason, refused.transient) == ("ArtifactInvalid", False)
    assert f"{PREFIX}bad" in refused.message
    assert not world.artifacts._folder._leases


async def test_names_that_lead_out_of_the_prefix_are_keys_that_are_not_there(world: HostsWorld) -> None:
    await world.objects.put("models", "secret", script("x = 1"))
    host = await world.host()
    for number, name in enumerate(("../secret", "", "/secret", "x\0y")):
        host.say(Fetch(id=number, model=name))
        assert (await host.hears(NoFiles)).id == number


async def test_an_overwritten_model_is_fetched_as_another_version(world: HostsWorld) -> None:
    await world.upload("a", script("x = 1"))
    host = await world.host()
    host.say(Fetch(id=1, model="a"))
    old = await host.hears(Files)
    digest = await world.upload("a", script("x = 2"))
    host.say(Fetch(id=2, model="a"))
    new = await host.hears(Files)
    assert (new.version, new.fetched) == (digest, True)
    assert new.version != old.version
    assert (Path(old.path) / "code" / "inference.py").read_text() == "x = 1", "who reads the old version reads on"


async def test_requirements_are_installed_for_trimtabs_own_workers(world: HostsWorld) -> None:
    world.endpoint()
    await world.upload("a", archive(code__requirements_txt="numpy==1"))
    host = await world.host()
    host.say(Fetch(id=1, model="a"))
    files = await host.hears(Files)
    assert (files.layers, files.fresh) == ((str(world.folder / "layer"),), True)
    assert world.installs == [Path(files.path) / "code" / "requirements.txt"]


async def test_requirements_are_the_programs_own_affair_where_a_program_serves(world: HostsWorld) -> None:
    world.endpoint(kind=RuntimeKind.COMMAND)
    await world.upload("a", archive(code__requirements_txt="numpy==1"))
    host = await world.host()
    host.say(Fetch(id=1, model="a"))
    assert (await host.hears(Files)).layers == ()
    assert world.installs == []


async def test_requirements_that_cannot_be_installed_say_the_installers_last_words(world: HostsWorld) -> None:
    world.install_fails = RequirementsFailed(
        "Installing code/requirements.txt exited with status 1.", "no such package"
    )
    await world.upload("a", archive(code__requirements_txt="nonsense"))
    host = await world.host()
    host.say(Fetch(id=1, model="a"))
    refused = await host.hears(NoFiles)
    assert (refused.reason, refused.transient) == ("RequirementsFailed", False)
    assert refused.message == "Installing code/requirements.txt exited with status 1.\nno such package"
    assert not world.artifacts._folder._leases


async def test_a_defect_is_answered_without_its_trace_and_touches_no_other_fetch(world: HostsWorld) -> None:
    world.install_fails = ZeroDivisionError("a defect")
    await world.upload("a", archive(code__requirements_txt="numpy"))
    await world.upload("b", script(""))
    host = await world.host()
    host.say(Fetch(id=1, model="a"), Fetch(id=2, model="b"))
    refused = await host.hears(NoFiles)
    assert refused.message.endswith("trimtab failed; its log on stderr says where.")
    await until(lambda: any(isinstance(heard, Files) and heard.id == 2 for heard in host.heard))


async def test_leases_outlive_a_lost_connection_until_the_host_is_back(world: HostsWorld) -> None:
    await world.upload("a", script("x = 1"))
    host = await world.host()
    host.say(Fetch(id=1, model="a"))
    path = (await host.hears(Files)).path
    await host.leave()
    await until(lambda: world.models._reading._lingering)
    assert leased(world, path) == 1
    back = await world.host("uid1-1-0", path, path, "/gone/model")
    await back.hears(Settings)
    assert leased(world, path) == 3
    for files in list(world.models._reading._lingering):
        world.models._reading._let_go(files)  # what the timer does
    assert leased(world, path) == 2
    back.say(Release(path=path))
    await until(lambda: leased(world, path) == 1)


async def test_leases_of_a_host_that_does_not_come_back_end(world: HostsWorld, tmp_path: Path) -> None:
    await world.upload("a", script("x = 1"))
    world.models._reading._grace_s = 0.01
    assert reading.GRACE_S > 1.0
    host = await world.host()
    host.say(Fetch(id=1, model="a"))
    path = (await host.hears(Files)).path
    await host.leave()
    await until(lambda: leased(world, path) == 0)


async def test_a_new_control_leases_what_hosts_hold(world: HostsWorld) -> None:
    await world.upload("a", script("x = 1"))
    host = await world.host()
    host.say(Fetch(id=1, model="a"))
    path = (await host.hears(Files)).path
    await world.restart()
    assert await host.is_dropped()
    assert leased(world, path) == 0
    back = await world.host("uid1-1-0", path)
    await back.hears(Settings)
    assert leased(world, path) == 1
    assert Path(path).exists()


async def test_a_fetch_for_a_host_that_has_gone_leaves_no_lease(world: HostsWorld) -> None:
    await world.upload("a", archive(code__requirements_txt="numpy"))
    reached, gate = asyncio.Event(), asyncio.Event()
    install = world._install

    async def slow(requirements: Path, timeout_s: float) -> object:
        reached.set()
        await gate.wait()
        return await install(requirements, timeout_s)

    world._install = slow  # type: ignore[assignment, method-assign]
    await world.restart()
    host = await world.host()
    host.say(Fetch(id=1, model="a"))
    await reached.wait()
    assert world.artifacts._folder._leases
    await host.leave()
    await until(lambda: not world.artifacts._folder._leases)
