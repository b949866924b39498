"""What a cache of models knows of each: its copies, its artifact on the disk, who wants it, and how it has failed."""

from __future__ import annotations

from dataclasses import dataclass, field

from trimtab.policies.models.memory import Size
from trimtab.wire.hosting import ModelState

BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 60.0


@dataclass(slots=True)
class Files:
    """An artifact that is on the disk, leased for a load to come or for its copy."""

    version: str
    artifact_bytes: int
    kind: str


@dataclass(slots=True)
class Short:
    """The program that holds all models has said that it has no memory for this one, whatever the account says."""

    since_s: float  # when it did first
    size: Size  # what was set aside for the model
    leavers: set[tuple[str, str]] = field(default_factory=set)  # models and versions that leave for it
    freed: bool = False  # another copy has ended since it was said, and no other model was told to make use of that
    trying: bool = False  # it is tried again now
    told: int = 0  # how many times
    left_s: float = 0.0  # when nobody waited for it any more
    ends_before: int = 0  # Shelf.ends then
    tries: int = 0  # of those, after others had gone and with no other load beside it that could have taken their room


@dataclass(slots=True)
class Copy:
    """A worker that loads a version, serves it, or ends."""

    files: Files
    why: str
    state: ModelState
    since_s: float  # when the state began
    size: Size  # as it counts: the forecast while it loads, then the most that was measured
    now: Size = field(default_factory=Size)  # measured last
    load_s: float = 0.0
    loaded_s: float = 0.0
    used_s: float = 0.0
    requests: int = 0
    in_hand: int = 0
    expects_until_s: float = 0.0  # requests that it was loaded for are on their way
    stays_until_s: float = 0.0  # it was given up only to be loaded again: now it stays for a while
    alone: bool = False  # as long as it has been loading there was nothing else that could have gone for it
    crowded: bool = False  # something else was loading at the same time
    ends_before: int = 0  # Shelf.ends when it was ordered
    hurried: bool = False  # told at_once
    left: str = ""  # why it leaves

    @property
    def version(self) -> str:
        """Of the artifact."""
        return self.files.version

    @property
    def kept_until_s(self) -> float:
        """It is not evicted for another model before."""
        return max(self.expects_until_s, self.stays_until_s)


@dataclass(slots=True)
class Entry:
    """One model. Where nothing is known of it but its past use, there is none."""

    model: str
    copies: dict[str, Copy] = field(default_factory=dict)  # by version, the newest last
    files: Files | None = None  # fetched, and no copy made of it yet
    fetching: bool = False
    want: str = ""  # why it is to be loaded; "" = it is not
    want_s: float = 0.0  # since when
    waiting: bool = False  # requests wait for it
    stale: bool = False  # the object has changed since the artifact was asked for
    held: str = ""  # why it is to be here, asked for or not
    failures: int = 0  # in a row
    failed_s: float = 0.0  # the last of them
    retry_s: float = 0.0  # not before
    reason: str = ""  # of the last failure
    message: str = ""
    fetch_failures: int = 0  # in a row
    no_memory: int = 0  # loads in a row that ran out of it
    short: Short | None = None  # what it waits for, when its program is full

    @property
    def ready(self) -> Copy | None:
        """The newest version that serves."""
        return next((copy for copy in reversed(self.copies.values()) if copy.state is ModelState.READY), None)

    @property
    def loading(self) -> Copy | None:
        """At most one."""
        return next((copy for copy in self.copies.values() if copy.state is ModelState.LOADING), None)

    @property
    def is_idle(self) -> bool:
        """Nothing is or will be done for it."""
        return not (self.copies or self.files or self.fetching or self.want or self.held)

    @property
    def is_blocked(self) -> bool:
        """Something is under way that has to end before the next step."""
        return self.fetching or self.loading is not None

    @property
    def is_short(self) -> bool:
        """It waits for others to go, so that its program has memory for it."""
        return self.short is not None and not self.short.trying

    def failed(self, reason: str, message: str, now_s: float) -> None:
        """Once more: the first retry is immediate, each wait after it twice the one before."""
        self.failures += 1
        self.reason, self.message, self.failed_s = reason, message, now_s
        wait_s = BACKOFF_S * 2.0 ** min(self.failures - 2, 16) if self.failures > 1 else 0.0
        self.retry_s = now_s + min(LONGEST_BACKOFF_S, wait_s)

    def forgive(self) -> None:
        """It works, or it is another artifact now."""
        self.failures, self.retry_s, self.reason, self.message, self.no_memory = 0, 0.0, "", "", 0
        self.short = None
