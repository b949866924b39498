"""trimtab's own JSON API."""

import json
from types import SimpleNamespace

import pytest

from trimtab.aws.http import BytesBody, HttpRequest
from trimtab.aws.native import native_api
from trimtab.clock import ManualClock
from trimtab.control.top import Overview
from trimtab.errors import Denied
from trimtab.resources.endpoint import Event
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Container, Model
from trimtab.resources.replica import Failure, ReplicaState, ReplicaStatus, StartBudget
from trimtab.resources.routing import AccessKey
from trimtab.testing.fake_control import FakeControl
from trimtab.testing.metrics import MemoryMetricStore

ROOT = AccessKey(id="ROOT", secret="s")


class World:
    """An endpoint `e` with one ready replica, and the API in front of it."""

    def __init__(self, logs) -> None:
        self.logs = logs
        self.key: AccessKey | None = ROOT
        self.services: list[str] = []
        self.control = FakeControl(ManualClock())
        self.control.create_model(Model(name="m", created_s=1.0, containers=(Container(image="i"),)), {})
        variants = (VariantSpec(name="A", model_name="m"),)
        self.control.create_endpoint_config(EndpointConfig(name="c", created_s=1.0, variants=variants), {})
        self.control.create_endpoint("e", "c", {}, {"DeploymentConfig": {}})
        self.control.settle("e")
        self.control.replicas["e"] = (
            ReplicaStatus(
                id="r1",
                endpoint="e",
                variant="A",
                version="c",
                state=ReplicaState.READY,
                pids=(7,),
                budget=StartBudget(fork_s=0.25, load_s=0.5),
            ),
        )
        overview = Overview(self.control, MemoryMetricStore(), dict, ManualClock())
        self.api = native_api(self.control, overview, self.authenticate, logs, {"region": "eu-west-1"})

    async def authenticate(self, request, service):
        self.services.append(service)
        if self.key is None:
            raise Denied("The request is not signed.", code="MissingToken")
        return SimpleNamespace(key=self.key, body=request.body)

    async def get(self, path, query="", method="GET"):
        response = await self.api(HttpRequest(method=method, raw_path=path, query=query, body=BytesBody()))
        body = response.body if isinstance(response.body, bytes) else b"".join([piece async for piece in response.body])
        return response.status, [json.loads(line) for line in body.splitlines()]


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)


async def test_health_says_who_answers(world) -> None:
    status, (health,) = await world.get("/_trimtab/v1/health")
    assert (status, health["status"], health["region"]) == (200, "ok", "eu-west-1")
    assert world.services == ["sagemaker"]


async def test_endpoints_are_listed_in_short_by_name(world) -> None:
    world.control.create_endpoint("another", "c", {}, {})
    status, (answer,) = await world.get("/_trimtab/v1/endpoints")
    assert status == 200
    assert [(e["name"], e["status"], e["replicas_ready"], e["replicas_desired"]) for e in answer["endpoints"]] == [
        ("another", "Creating", 0, 1),
        ("e", "InService", 1, 1),
    ]


async def test_an_endpoint_shows_replicas_budgets_and_reasons(world) -> None:
    failed = ReplicaStatus(
        id="r2",
        endpoint="e",
        variant="A",
        version="c",
        state=ReplicaState.FAILED,
        failure=Failure(reason="ModelLoadFailed", message="model_fn raised", tail="ValueError: no"),
    )
    world.control.replicas["e"] += (failed,)
    world.control.events["e"] = (Event(at_s=5.0, what="replica failed", reason="ModelLoadFailed", replica_id="r2"),)
    _, (answer,) = await world.get("/_trimtab/v1/endpoints/e")
    ready, dead = answer["replicas"]
    assert (ready["state"], ready["pids"], ready["start_s"]) == ("Ready", [7], 0.75)
    assert ready["budget"] == {"fork_s": 0.25, "load_s": 0.5}
    assert "failure" not in ready
    assert dead["failure"] == {"reason": "ModelLoadFailed", "message": "model_fn raised", "tail": "ValueError: no"}
    assert answer["events"] == [
        {"at_s": 5.0, "what": "replica failed", "reason": "ModelLoadFailed", "replica_id": "r2"}
    ]
    assert answer["config_name"] == "c"
    assert not {"document", "revision", "pending_config_name", "failure_reason"} & answer.keys()


async def test_logs_are_json_lines_and_can_be_cut_and_chosen(world) -> None:
    folder = world.logs / "e" / "A"
    folder.mkdir(parents=True)
    (folder / "r1.log").write_text("one\ntwo\nthree")
    _, entries = await world.get("/_trimtab/v1/endpoints/e/logs", "tail=2")
    assert entries == [{"variant": "A", "replica": "r1", "line": line} for line in ("two", "three")]
    assert (await world.get("/_trimtab/v1/endpoints/e/logs", "replica=r9"))[1] == []


async def test_logs_outlive_their_endpoint(world) -> None:
    folder = world.logs / "gone" / "A"
    folder.mkdir(parents=True)
    (folder / "r1.log").write_text("last words\n")
    for query in ("", "follow=true"):
        status, (entry,) = await world.get("/_trimtab/v1/endpoints/gone/logs", query)
        assert (status, entry["line"]) == (200, "last words")


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/_trimtab/v1/endpoints/nope", "", 404, "NotFound"),
        ("/_trimtab/v1/endpoints/nope/logs", "", 404, "NotFound"),
        ("/_trimtab/v1/endpoints/..%2F..%2Fetc/logs", "", 404, "NotFound"),
        ("/_trimtab/v1/endpoints/%2e%2e/logs", "", 404, "NotFound"),
        ("/_trimtab/v1/endpoints/e/logs", "tail=-1", 400, "Invalid"),
        ("/_trimtab/v1/endpoints/e/logs", "tail=many", 400, "Invalid"),
        ("/_trimtab/v1/nothing", "", 404, "NotFound"),
        ("/_trimtab/v1/", "", 404, "NotFound"),
    ],
)
async def test_bad_requests_get_a_clear_error(world, path, query, status, code) -> None:
    got, (answer,) = await world.get(path, query)
    assert (got, answer["error"]["code"]) == (status, code)
    assert answer["error"]["message"]


async def test_only_reading_is_allowed(world) -> None:
    assert (await world.get("/_trimtab/v1/endpoints/e", method="DELETE"))[0] == 405


async def test_who_does_not_sign_is_refused(world) -> None:
    world.key = None
    status, (answer,) = await world.get("/_trimtab/v1/endpoints")
    assert (status, answer["error"]["code"]) == (403, "Denied")


async def test_a_limited_key_sees_only_what_is_its_own(world) -> None:
    world.control.create_endpoint("mine-1", "c", {}, {})
    world.key = AccessKey(id="K", secret="s", endpoints=("mine-*",))
    _, (answer,) = await world.get("/_trimtab/v1/endpoints")
    assert [endpoint["name"] for endpoint in answer["endpoints"]] == ["mine-1"]
    assert (await world.get("/_trimtab/v1/endpoints/e"))[0] == 403
    assert (await world.get("/_trimtab/v1/endpoints/mine-1"))[0] == 200
    world.key = AccessKey(id="K", secret="s", actions=("sagemaker:InvokeEndpoint",))
    for path in ("endpoints", "endpoints/e", "endpoints/e/logs"):
        assert (await world.get(f"/_trimtab/v1/{path}"))[0] == 403


async def test_a_defect_of_ours_is_answered_without_its_traceback(world, caplog) -> None:
    def broken():
        raise RuntimeError("secret detail")

    world.control.list_endpoints = broken
    status, (answer,) = await world.get("/_trimtab/v1/endpoints")
    assert (status, answer["error"]["code"]) == (500, "Broken")
    assert "secret detail" not in json.dumps(answer)
    assert "secret detail" in caplog.text
