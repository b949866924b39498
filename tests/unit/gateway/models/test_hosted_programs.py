"""Calls of a multi-model variant whose models are in a program that keeps AWS's multi-model container contract."""

import asyncio

import pytest

from trimtab.errors import ModelFailed, ModelOutOfMemory
from trimtab.resources.replica import Wire
from trimtab.resources.routing import Lane


class Program:
    """Answers as `answers` says, by path: a status, or a coroutine function. What it was asked is in `asked`."""

    def __init__(self):
        self.asked = []
        self.answers = {}

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line = head.split(" HTTP")[0]
                length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
                body = await reader.readexactly(length)
                self.asked.append((line, head))
                status = self.answers.get(line, 200)
                if callable(status):
                    status = await status()
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @property
    def lines(self):
        return [line for line, _ in self.asked]

    def lane(self, name="n1"):
        address = f"tcp:127.0.0.1:{self.port}"
        return Lane(replica_id="h0", address=address, wire=Wire.HTTP, path=f"/models/{name}/invoke")

    async def stop(self):
        self._server.close()
        await asyncio.sleep(0)


@pytest.fixture
async def programs(hosts):
    started = []

    async def start():
        started.append(await Program().start())
        return started[-1]

    yield start
    await hosts.bench.gateway.close()
    for program in started:
        await program.stop()


async def placed(hosts, host, model, *lanes, version="1"):
    host.ready(model, *lanes, version=version)
    await host.until(lambda: any(link.held.get(model) == host.models[model] for link in hosts.variant.lanes))


async def test_a_request_is_posted_to_the_path_of_its_model_and_names_it(hosts, programs):
    host, program = await hosts.open(), await programs()
    await placed(hosts, host, "a.tar.gz", program.lane())
    assert await hosts.ask("a.tar.gz", b"hello").outcome() == b"hello"
    line, head = program.asked[0]
    assert line == "POST /models/n1/invoke"
    assert "X-Amzn-SageMaker-Target-Model: a.tar.gz\r\n" in head
    await host.until(lambda: any(use.model == "a.tar.gz" and use.requests for use in host.uses))


async def test_models_of_one_program_have_paths_of_their_own(hosts, programs):
    host, program = await hosts.open(), await programs()
    for model in "ab":
        await placed(hosts, host, model, program.lane(model))
    assert [await hosts.ask(model, model.encode()).outcome() for model in "aba"] == [b"a", b"b", b"a"]
    assert program.lines == [f"POST /models/{model}/invoke" for model in "aba"]


async def test_a_call_for_a_model_that_the_program_does_not_know_waits_until_it_is_loaded_again(hosts, programs):
    host, program = await hosts.open(), await programs()
    program.answers = {"POST /models/n1/invoke": 404, "GET /models/n1": 404}
    await placed(hosts, host, "a", program.lane())
    call = hosts.ask("a")
    await host.until(lambda: host.wants)
    assert [(want.model, want.why) for want in host.wants] == [("a", "absent")]
    assert not call.outcomes
    await placed(hosts, host, "a", program.lane("n2"), version="2")
    assert await call.outcome() == b"x"


async def test_a_404_of_the_models_own_is_its_answer_and_is_worked_on_once(hosts, programs):
    host, program = await hosts.open(), await programs()
    program.answers = {"POST /models/n1/invoke": 404}
    await placed(hosts, host, "a", program.lane())
    error = await hosts.ask("a").outcome()
    assert isinstance(error, ModelFailed)
    assert error.status == 404
    assert program.lines == ["POST /models/n1/invoke", "GET /models/n1"]
    assert not [want for want in host.wants if want.why == "absent"]


async def test_a_call_that_is_cancelled_while_its_answer_is_looked_into_frees_its_slot(hosts, programs):
    host, program = await hosts.open(), await programs()
    go = asyncio.Event()

    async def later():
        await go.wait()
        return 404

    program.answers = {"POST /models/n1/invoke": 404, "GET /models/n1": later}
    await placed(hosts, host, "a", program.lane())
    call = hosts.ask("a")
    await host.until(lambda: "GET /models/n1" in program.lines)
    [lane] = hosts.variant.queues["a"].lanes
    assert lane.outstanding == 1
    call.cancel()
    go.set()
    await host.until(lambda: lane.outstanding == 0)
    assert not call.outcomes


async def test_a_model_that_runs_out_of_memory_at_work_is_given_up_and_its_call_goes_elsewhere(hosts, programs):
    first, second = await hosts.open(2)
    full, roomy = await programs(), await programs()
    full.answers = {"POST /models/n1/invoke": 507}
    await placed(hosts, first, "a", full.lane())
    call = hosts.ask("a")
    await first.until(lambda: first.wants)
    assert [want.why for want in first.wants] == ["short"]
    await second.until(lambda: second.wants)
    await placed(hosts, second, "a", roomy.lane())
    assert await call.outcome() == b"x"


async def test_a_call_over_which_a_model_runs_out_of_memory_again_and_again_fails_with_what_it_said(hosts, programs):
    host, program = await hosts.open(), await programs()
    program.answers = {"POST /models/n1/invoke": 507}

    def on_want(want):
        if want.why != "short":
            host.ready("a", program.lane(), version=str(len(host.wants)))

    host.on_want = on_want
    await placed(hosts, host, "a", program.lane())
    call = hosts.ask("a", b"too much")
    host.models.clear()
    error = await call.outcome()
    assert isinstance(error, ModelOutOfMemory)
    assert error.body == b"too much"
    assert program.lines == ["POST /models/n1/invoke"] * 3


async def test_a_host_is_told_when_nothing_is_in_hand_of_a_version_that_leaves(hosts, programs):
    host, program = await hosts.open(), await programs()
    go = asyncio.Event()

    async def slow():
        await go.wait()
        return 200

    program.answers = {"POST /models/n1/invoke": slow}
    await placed(hosts, host, "a", program.lane())
    await placed(hosts, host, "b", program.lane("b"))
    call = hosts.ask("a")
    await host.until(lambda: program.lines)
    host.leaving("a")
    host.leaving("b")
    await host.until(lambda: [use for use in host.uses if use.done])
    assert [(use.model, use.done) for use in host.uses if use.done] == [("b", ("1",))]
    go.set()
    assert await call.outcome() == b"x"
    await host.until(lambda: ("a", ("1",)) in [(use.model, use.done) for use in host.uses])


async def test_a_program_that_dies_at_work_fails_what_it_had_in_hand(hosts, programs):
    host, program = await hosts.open(), await programs()

    async def die():
        raise ConnectionError

    program.answers = {"POST /models/n1/invoke": die}
    await placed(hosts, host, "a", program.lane())
    error = await hosts.ask("a").outcome()
    assert "model a" in str(error)
