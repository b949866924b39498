"""The queue of an asynchronous endpoint in trimtab's own API; `trimtab queue` is made of it.

    GET  .../endpoints/NAME/queue            how it is: waiting, in flight, dead, when the oldest was accepted, counters
    GET  .../endpoints/NAME/queue/tasks      {"tasks": what is in it, oldest first}; state=dead (waiting, leased),
                                             most=100, 1000 at most
    POST .../endpoints/NAME/queue/redrive    {"count"}: dead letters are worked on anew; most=1000000, oldest first
    POST .../endpoints/NAME/queue/purge      {"count"}: removes what waits, without result, failure or notice; with
                                             dead=true the dead letters instead

Members: control/queue_desk.py.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trimtab.aws.http import HttpRequest
from trimtab.aws.native_queries import READS, Methods, count, given
from trimtab.control.queue_desk import MOST_TASKS, QueueDesk
from trimtab.errors import Invalid, NotFound

METHODS: Final[Methods] = {(): READS, ("tasks",): READS, ("redrive",): ("POST",), ("purge",): ("POST",)}
"""What can be done, by the path below `queue`."""

_MOST_REDRIVEN: Final = 1_000_000


async def answer_queue(desk: QueueDesk, name: str, below: tuple[str, ...], request: HttpRequest) -> dict[str, Any]:
    """The document that answers a request for a path in METHODS, of what can be encoded. As QueueDesk; Invalid."""
    match below:
        case ():
            given("queue", request.query)
            document: dict[str, Any] = msgspec.to_builtins(await desk.look(name))
            return document
        case ("tasks",):
            asked = given("tasks", request.query, "state", "most")
            return {"tasks": await desk.tasks(name, asked.get("state", "dead"), count(asked, "most", 100, MOST_TASKS))}
        case ("redrive",):
            asked = given("redrive", request.query, "most")
            return {"count": await desk.redrive(name, count(asked, "most", _MOST_REDRIVEN, _MOST_REDRIVEN))}
        case ("purge",):
            dead = given("purge", request.query, "dead").get("dead", "false")
            if dead not in ("true", "false"):
                raise Invalid(f"dead must be true or false, not {dead[:40]!r}.")
            return {"count": await desk.purge(name, dead=dead == "true")}
    raise NotFound("path", request.path, f"trimtab's API has no {request.path}.")
