"""While requests come one at a time a worker looks for the next before it sleeps: nothing may go unseen meanwhile."""

from __future__ import annotations

from trimtab.policies.patience import ALONE_IN_A_ROW
from trimtab.wire.frames import Kind

ECHO = {"code/inference.py": "def model_fn(d): return d\ndef transform_fn(m, data, ct, accept): return data, ct\n"}


def one_at_a_time(client, count):
    for number in range(count):
        body = b"%d" % number
        assert client.ask(body, "text/plain", alone=True).payload == body


def test_a_new_connection_is_served_while_the_worker_looks(start):
    worker = start(ECHO).ready()
    first = worker.client()
    for _ in range(20):
        one_at_a_time(first, ALONE_IN_A_ROW * 4)
        assert worker.client().ask(b"new", "text/plain").payload == b"new"


def test_drain_is_heard_while_the_worker_looks(start):
    for _ in range(3):
        worker = start(ECHO).ready()
        gateway, control = worker.client(), worker.client()
        control.describe()
        one_at_a_time(gateway, ALONE_IN_A_ROW * 4)
        control.send(Kind.DRAIN)
        assert worker.wait() == 0


def test_requests_that_come_together_are_answered_after_such_that_came_alone(start):
    worker = start(ECHO).ready()
    client = worker.client()
    one_at_a_time(client, ALONE_IN_A_ROW * 4)
    for stream in range(1, 51):
        client.request(stream, b"%d" % stream, "text/plain")
    answers = {(frame.stream, frame.payload) for frame in (client.receive() for _ in range(50))}
    assert answers == {(stream, b"%d" % stream) for stream in range(1, 51)}
