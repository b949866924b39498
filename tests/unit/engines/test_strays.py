"""When strays are looked for."""

import pytest

from trimtab.engines.local import strays

STRAY = (12, 345)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[strays.Stray]:
    """One stray that nobody was told of; it is found for as long as it is not ended."""
    ended: list[strays.Stray] = []
    monkeypatch.setattr(strays, "find", lambda *_: {STRAY} - set(ended))
    monkeypatch.setattr(strays, "end", ended.append)
    return ended


def watch() -> strays.Watch:
    return strays.Watch(1, [], "house")


def test_one_is_ended_soon_after_a_death(ended: list[strays.Stray]) -> None:
    watched = watch()
    for living in ({1}, set(), set()):
        watched.look(living)
    assert ended == [STRAY]


def test_one_of_a_model_that_came_and_went_unseen_is_ended_in_a_while(
    ended: list[strays.Stray], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = watch()
    monkeypatch.setattr(strays, "find", lambda *_: set())
    for _ in range(10):
        watched.look({1})
    monkeypatch.setattr(strays, "find", lambda *_: {STRAY} - set(ended))
    for _ in range(12):
        watched.look({1})
    assert ended == [STRAY]


def test_it_is_seldom_looked_for_while_nothing_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    watched = watch()
    monkeypatch.setattr(strays, "find", lambda *_: looks.append(1) or set())
    for _ in range(103):
        watched.look({1})
    assert len(looks) == 3 + 10
