"""The worker's life, seen from control: born, ready or failed, busy, drained, stopped, orphaned."""

from __future__ import annotations

import msgspec

from trimtab.resources.replica import ReplicaSpec
from trimtab.wire.frames import Kind

ECHO = {"code/inference.py": "def model_fn(d): return d\ndef transform_fn(m, data, ct, accept): return data, ct\n"}


def test_a_worker_answers_and_says_what_its_start_cost(start):
    worker = start(ECHO).ready()

    answer = worker.client().ask(b'{"a": 1}', "application/json")
    description = worker.client().describe()

    assert (answer.kind, answer.payload, answer.answer.content_type) == (Kind.ANSWER, b'{"a": 1}', "application/json")
    assert msgspec.msgpack.decode(description.spec, type=ReplicaSpec).endpoint == "payments"
    assert (description.replica_id, description.pid, description.in_flight) == ("r0", worker.pid, 0)
    for step_s in (description.fork_s, description.import_s, description.load_s, description.warm_s):
        assert step_s is not None
        assert 0 <= step_s < 10
