"""Models of multi-model endpoints in trimtab's own API: what is listed, what can be set, and by whom."""

import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, ItemsView
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trimtab.aws.http import BytesBody, HttpRequest
from trimtab.aws.native import native_api
from trimtab.clock import ManualClock
from trimtab.control.hosts.came import Asked, CameRow
from trimtab.control.top import Overview
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.routing import AccessKey
from trimtab.testing.fake_control import FakeControl
from trimtab.testing.metrics import MemoryMetricStore
from trimtab.testing.model_hosts import HostsWorld, until
from trimtab.wire.hosting import Events, Holding, ModelEvent, ModelState, Noted, Resident
from trimtab.wire.reports import ModelsReport, Report, TasksReport, VariantReport

Call = Callable[..., Awaitable[tuple[int, dict[str, Any]]]]
SETTINGS = "fraud/models/settings"


class Once(BytesBody):
    """A body that can be read once, as those from the network: authentication has done so."""

    async def read(self, limit_bytes: int) -> bytes:
        data, self._data = await super().read(limit_bytes), b""
        return data


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HostsWorld]:
    async with HostsWorld(tmp_path) as world:
        world.endpoint()
        world.endpoint("single", "uid2", multi_model=False)
        yield world


@pytest.fixture
def key() -> list[AccessKey]:
    return [AccessKey(id="ROOT", secret="s")]


@pytest.fixture
def call(world: HostsWorld, key: list[AccessKey], tmp_path: Path) -> Call:
    control = FakeControl(ManualClock())

    async def authenticate(request: HttpRequest, service: str) -> SimpleNamespace:
        return SimpleNamespace(key=key[0], body=BytesBody(await request.body.read(1 << 20)))

    overview = Overview(control, MemoryMetricStore(), dict, ManualClock())
    api = native_api(control, overview, authenticate, tmp_path, {}, models=world.models)  # type: ignore[arg-type]

    async def call(path: str, query: str = "", method: str = "GET", body: object = None) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = HttpRequest(method=method, raw_path=f"/_trimtab/v1/endpoints/{path}", query=query, body=Once(data))
        response = await api(request)
        assert isinstance(response.body, bytes)
        return response.status, json.loads(response.body)

    return call


async def test_models_are_listed_with_what_holds_them_what_they_did_and_what_is_set(
    world: HostsWorld, call: Call
) -> None:
    host = await world.host()
    resident = Resident(model="a", version="v", state=ModelState.READY, bytes=10, requests=2, pinned=True)
    event = ModelEvent(at_s=5.0, model="a", what="loaded", why="asked", load_s=0.5, seq=1)
    host.say(Events(events=(event,)), Holding(residents=(resident,), memory_bytes=100, used_bytes=10, hits=1))
    await host.hears(Noted)
    await until(lambda: world.models.hosts("fraud")[0].residents)
    world.models.set("fraud", ModelSetting(model="a", pinned=True))
    status, answer = await call("fraud/models")
    assert status == 200
    (held,) = answer["hosts"]
    assert (held["replica_id"], held["memory_bytes"], held["used_bytes"], held["hits"]) == ("uid1-1-0", 100, 10, 1)
    assert held["residents"] == [
        {"model": "a", "version": "v", "state": "Ready", "bytes": 10, "requests": 2, "pinned": True}
    ]
    (count,) = answer["models"]
    assert (count["model"], count["loads"], count["load_s"], count["requests"]) == ("a", 1, 0.5, 2)
    assert answer["settings"] == [{"model": "a", "pinned": True, "ttl_s": 0.0, "min_copies": 0, "max_copies": 0}]
    status, answer = await call("fraud/models/events", "model=a&since=4&last=10")
    assert answer["events"] == [
        {
            "replica_id": "uid1-1-0", "variant": "main", "at_s": 5.0, "model": "a", "what": "loaded", "why": "asked",
            "load_s": 0.5, "seq": 1,
        }
    ]  # fmt: skip


def a_report(start_s: int, came_ms: dict[str, list[int]], *, of: str = "fraud", **counts: tuple[int, int]) -> Report:
    models = ModelsReport(models=counts, came_ms=came_ms)
    return Report(number=1, start_s=start_s, variants=[VariantReport(endpoint=of, variant="main", models=models)])


async def test_which_model_was_asked_when_is_told_by_time_and_variant(world: HostsWorld, call: Call) -> None:
    world.came.take(a_report(100, {"a": [100_250, 100_900]}, a=(1, 2), b=(4, 0)))
    world.came.take(a_report(100, {}, of="gone", a=(1, 0)))  # no such endpoint any more
    world.came.take(Report(number=2, start_s=101, variants=[VariantReport(endpoint="fraud", variant="main")]))
    world.came.take(a_report(105, {"a": [105_000]}, a=(1, 0)))
    await world.came.close()
    _, answer = await call("fraud/requests", "variant=main&start=100&end=104.5")
    models = {"a": {"count": 3, "at_ms": [250, 900]}, "b": {"count": 4, "at_ms": []}}
    assert answer == {"reports": [{"start_s": 100, "span_s": 1, "models": models}]}
    _, answer = await call("fraud/requests", "variant=main")
    assert [report["start_s"] for report in answer["reports"]] == [100, 105]
    _, answer = await call("fraud/requests", "variant=other")
    assert answer == {"reports": []}
    assert (await call("none/requests", "variant=main"))[0] == 404


@pytest.mark.parametrize("query", ["start=-1e300", "end=1e300", "start=-1e300&end=1e300"])
async def test_requests_of_whatever_time_can_be_asked_for(world: HostsWorld, call: Call, query: str) -> None:
    world.came.take(a_report(100, {}, a=(1, 0)))
    await world.came.close()
    status, answer = await call("fraud/requests", f"variant=main&{query}")
    assert (status, len(answer["reports"])) == (200, 1)


async def test_nobody_waits_for_an_answer_about_many_requests_to_be_written(
    world: HostsWorld, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()

    class Watched(dict[str, Asked]):
        def items(self) -> ItemsView[str, Asked]:
            threads.add(threading.current_thread().name)
            return super().items()

    async def came(*asked: object, **more: object) -> list[CameRow]:
        return [CameRow(variant="main", start_s=1, span_s=1, models=Watched(a=Asked(1, (2,))))]

    monkeypatch.setattr(world.models, "came", came)
    _, answer = await call("fraud/requests", "variant=main")
    assert answer["reports"] == [{"start_s": 1, "span_s": 1, "models": {"a": {"count": 1, "at_ms": [2]}}}]
    assert threads
    assert threading.main_thread().name not in threads


async def test_what_asynchronous_requests_took_is_told_once_they_have_ended(world: HostsWorld, call: Call) -> None:
    tasks = TasksReport(each=[(97_500, 1_200_000), (99_750, 250_000)])
    tasks.in_work.count = 3
    report = VariantReport(endpoint="single", variant="main", tasks=tasks)
    world.came.take(Report(number=1, start_s=100, variants=[report]))
    world.came.take(
        Report(number=2, start_s=101, variants=[VariantReport(endpoint="single", variant="main", tasks=TasksReport())])
    )
    await world.came.close()
    _, answer = await call("single/requests", "variant=main")
    models = {"": {"count": 3, "at_ms": [-2500, -250], "took_us": [1_200_000, 250_000]}}
    assert answer == {"reports": [{"start_s": 100, "span_s": 1, "models": models}]}


@pytest.mark.parametrize(
    ("path", "query", "says"),
    [
        ("fraud", "", "Of which variant?"),
        ("fraud", "variant=main&last=3", "knows no 'last'"),
    ],
)
async def test_requests_that_cannot_be_listed_are_refused_in_words(
    call: Call, path: str, query: str, says: str
) -> None:
    status, answer = await call(f"{path}/requests", query)
    assert status == 400
    assert says in answer["error"]["message"]


async def test_a_setting_is_replaced_by_put_changed_by_patch_and_taken_back_by_delete(call: Call) -> None:
    _, answer = await call(SETTINGS, "", "PUT", {"model": "team/a", "pinned": True, "ttl_s": 60})
    assert answer["settings"] == [{"model": "team/a", "pinned": True, "ttl_s": 60.0, "min_copies": 0, "max_copies": 0}]
    _, answer = await call(SETTINGS, "", "PATCH", {"model": "team/a", "pinned": False, "min_copies": 2})
    assert answer["settings"] == [{"model": "team/a", "pinned": False, "ttl_s": 60.0, "min_copies": 2, "max_copies": 0}]
    _, answer = await call(SETTINGS, "", "PATCH", {"model": "b", "max_copies": 1})
    assert [setting["model"] for setting in answer["settings"]] == ["b", "team/a"]
    _, answer = await call(SETTINGS, "", "PUT", {"model": "team/a", "max_copies": 3})
    assert answer["settings"][1] == {
        "model": "team/a", "pinned": False, "ttl_s": 0.0, "min_copies": 0, "max_copies": 3
    }  # fmt: skip
    for _ in range(2):
        status, answer = await call(SETTINGS, "model=team%2Fa", "DELETE")
        assert (status, [setting["model"] for setting in answer["settings"]]) == (200, ["b"])


@pytest.mark.parametrize(
    ("method", "query", "body", "says"),
    [
        ("PUT", "", b"no json", "cannot be read"),
        ("PUT", "", [1], "cannot be read"),
        ("PUT", "", {}, "cannot be read"),
        ("PUT", "", {"model": 1}, "cannot be read"),
        ("PUT", "", {"model": "a", "pinned": "yes"}, "cannot be read"),
        ("PUT", "", {"model": "a", "pined": True}, "has no 'pined', only model, pinned"),
        ("PUT", "", {"model": "a", "ttl_s": -1}, "ttl_s is -1"),
        ("PUT", "", {"model": "../a"}, "no key below a prefix"),
        ("PATCH", "", {"model": "*", "pinned": True}, "only ttl_s can be set"),
        ("PATCH", "model=a", {"pinned": True}, "knows no 'model'"),
        ("PUT", "", b"x" * 100_000, "over 16384 bytes"),
        ("DELETE", "", None, "Which model"),
        ("DELETE", "modell=a", None, "knows no 'modell'"),
        ("GET", "", None, "GET is not allowed here"),
        ("POST", "", {"model": "a"}, "POST is not allowed here"),
    ],
)
async def test_what_cannot_be_set_is_refused_in_words(
    call: Call, method: str, query: str, body: object, says: str
) -> None:
    status, answer = await call(SETTINGS, query, method, body)
    assert status in (400, 405)
    assert says in answer["error"]["message"]
    _, answer = await call("fraud/models")
    assert answer["settings"] == []


@pytest.mark.parametrize("query", ["last=0", "last=x", "last=1000000", "since=x", "since=nan", "modell=a"])
async def test_what_cannot_be_asked_is_refused(call: Call, query: str) -> None:
    assert (await call("fraud/models/events", query))[0] == 400


async def test_what_is_not_there_and_what_holds_one_model_are_named(call: Call) -> None:
    for path in ("nobody/models", "nobody/models/events", "fraud/models/nothing", "fraud/models/settings/a"):
        assert (await call(path))[0] == 404, path
    status, answer = await call("single/models")
    assert (status, answer["error"]["code"]) == (400, "Invalid")
    assert "not a multi-model endpoint" in answer["error"]["message"]
    assert (await call("single/models/settings", "", "PUT", {"model": "a"}))[0] == 400


async def test_keys_that_may_look_may_not_set(call: Call, key: list[AccessKey]) -> None:
    key[0] = AccessKey(id="LOOK", secret="s", actions=("sagemaker:Describe*",), endpoints=("fraud",))
    assert (await call("fraud/models"))[0] == 200
    assert (await call("fraud/models/events"))[0] == 200
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await call(SETTINGS, "", method, {"model": "a"}))[0] == 403
    assert (await call("single/models"))[0] == 403
    key[0] = AccessKey(id="SET", secret="s", actions=("sagemaker:UpdateEndpoint",))
    assert (await call(SETTINGS, "", "PUT", {"model": "a"}))[0] == 200
    assert (await call("fraud/models"))[0] == 403
