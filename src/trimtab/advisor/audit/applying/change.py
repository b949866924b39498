"""What there is to know of a call before it is made: what is there now, and what makes it undone. Types only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from trimtab.advisor.finding import Call

Answer = Mapping[str, Any]


class Caller(Protocol):
    """Makes calls of an account's API."""

    def call(self, call: Call) -> Answer:
        """What was answered. Raises Refused."""
        ...


class Refused(Exception):
    """The account answered an error. `code` is AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Change(Struct, frozen=True, kw_only=True):
    """One call, beside what it would change."""

    call: Call  # as it is made: what is there and is not ours is kept in it
    is_done: bool  # it is so already
    before: str  # what is there now
    undo: tuple[Call, ...] = ()
    undo_note: str = ""  # what undoing does not bring back


class Operation(Struct, frozen=True, kw_only=True):
    """A call that can be carried out: it changes no answer, loses nothing, and can be undone.

    `read` is the call that shows what is there; an error code of `absent` means: nothing. `change` says what the call
    would do to what was read (None: nothing is there). `danger` says why one of its calls is not safe after all; ""
    where it is.
    """

    read: Callable[[Call], Call]
    change: Callable[[Call, Answer | None], Change]
    absent: frozenset[str] = frozenset()
    danger: Callable[[Call, Answer | None], str] = lambda call, answer: ""
