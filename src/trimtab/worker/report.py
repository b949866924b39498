"""What a worker says of itself: state, start budget, failure, and whether it is busy."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from trimtab.resources import lifecycles
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import Failure, ReplicaState
from trimtab.wire.frames import WorkerDescription


class Report:
    """Written by the main thread, read by the attendant. Only changes of state need their lock: both make them, and a
    state is not described before it has been told of, or it would be told twice.

    `on_change` is called after every change of state and after the first answer, from whichever thread made it.
    """

    def __init__(self, launch: WorkerLaunch, replica_id: str) -> None:
        self._launch = launch
        self._replica_id = replica_id
        self._moving = threading.Lock()
        self.state = ReplicaState.STARTING
        self.failure: Failure | None = None
        self.fork_s: float | None = None
        self.import_s: float | None = None
        self.load_s: float | None = None
        self.warm_s: float | None = None
        self.first_answer_s: float | None = None
        self.batch_size = 0  # rows of the largest batch; 0: the model is asked for one request at a time
        self.batching = ""  # what batching does, or why there is none; "" = nobody asked for it
        self.on_change: Callable[[], None] = lambda: None
        self.note_first: Callable[[float], None] = lambda took_s: None  # told, in seconds, what the first answer took
        self.load: Callable[[], tuple[int, float]] = lambda: (0, 0.0)
        """Requests in hand, and since when the oldest of them waits for the model (monotonic; 0 = idle)."""

    def move(self, state: ReplicaState) -> None:
        """Go to `state`; Broken where the lifecycle draws no arrow."""
        with self._moving:
            self.state = lifecycles.step(lifecycles.REPLICA, self.state, state)
            self.on_change()

    def become_ready(self) -> None:
        """Go to Ready, unless the worker was told to drain before it got there."""
        with self._moving:
            if self.state is ReplicaState.STARTING:
                self.state = ReplicaState.READY
            self.on_change()

    def answered_first(self, took_s: float) -> None:
        """The first request of a caller has its answer."""
        self.first_answer_s = took_s
        self.on_change()
        self.note_first(took_s)

    def stop_batching(self, why: str) -> None:
        """The model is asked for one request at a time from now on."""
        self.batch_size, self.batching = 0, why
        self.on_change()

    def fail(self, failure: Failure) -> None:
        """Become Failed, with its reason."""
        self.failure = failure
        self.move(ReplicaState.FAILED)

    def describe(self) -> WorkerDescription:
        """All of it, as of now."""
        in_flight, busy_since_s = self.load()
        with self._moving:
            state, failure = self.state, self.failure
        return WorkerDescription(
            replica_id=self._replica_id,
            index=self._launch.index,
            pid=os.getpid(),
            state=state.value,
            spec=self._launch.spec,
            in_flight=in_flight,
            busy_since_monotonic_s=busy_since_s,
            fork_s=self.fork_s,
            import_s=self.import_s,
            load_s=self.load_s,
            warm_s=self.warm_s,
            first_answer_s=self.first_answer_s,
            failure_reason=failure.reason if failure else "",
            failure_message=failure.message if failure else "",
            failure_tail=failure.tail if failure else "",
            batch_size=self.batch_size,
            batching=self.batching,
        )
