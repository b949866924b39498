from trimtab.clock import ManualClock
from trimtab.control.dropped_notices import WHAT, DroppedNotices
from trimtab.resources.endpoint import Event


def test_a_history_says_once_in_a_while_that_notices_are_dropped() -> None:
    clock = ManualClock()
    said: list[tuple[str, str]] = []

    def add(endpoint: str, events: list[Event]) -> None:
        said.extend((endpoint, event.what) for event in events)

    dropped = DroppedNotices(add, clock)  # type: ignore[arg-type]
    for endpoint in ("a", "a", "b"):
        dropped.note(endpoint)
    assert said == [("a", WHAT), ("b", WHAT)]
    clock.advance(600.0)
    dropped.note("a")
    assert said[2:] == [("a", WHAT)]
