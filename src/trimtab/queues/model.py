"""What can be asked of durable queues, and what they answer. One `Op` is atomic; so is a batch of them.

The same structs are the calls of a `QueueStore` (store.py) and the messages to the process that keeps the queues.

A message's life: waiting (from `visible_s` on) -> leased (to an owner, with a token, until a time) -> acknowledged
(gone), or back to waiting, or buried (moved to the dead letters with a reason). A token grows with each lease of its
message: whoever comes with an old one is told Lost and changes nothing (fencing).
"""

from __future__ import annotations

from msgspec import Struct

from trimtab.errors import Unavailable


class QueuesFull(Unavailable):
    """The disk that keeps the queues has no room: nothing of what was asked has been done."""

    reason = "StorageFull"


class QueueSettings(Struct, frozen=True, kw_only=True):
    """What a queue allows. 0 means no bound, or for ever."""

    max_items: int = 0  # waiting and leased; beyond it Put is answered Full
    max_bytes: int = 0  # of their bodies
    retention_s: float = 0.0  # a message that is older than this is removed (or leased as expired, see below)
    lease_s: float = 30.0  # where Lease does not say
    max_leases: int = 0  # so many times at most; then it is buried
    dead_letters: str = ""  # the queue that takes what is buried; "" = a buried message stays in this one, dead
    tell_expired: bool = False  # an expired message is leased once more, with `expired`, so that somebody can say so
    fifo: bool = False  # in order within a group: the next of a group is leased when the one before has ended
    attributes: bytes = b""  # the user's own; not looked at here


class Put(Struct, frozen=True, kw_only=True, tag="put"):
    """Enqueue. `id` is the caller's, unique in the queue: the same put twice enqueues once, also when it has ended
    (for a while, `DEDUPLICATION_S`). `expires_s` and `visible_s` are wall times; 0: never, at once.

    `once`: a key. For `DEDUPLICATION_S` from a put with it on, another of that key in the queue enqueues nothing and is
    answered Done with the first one's id, whatever has become of that message."""

    queue: str
    id: str
    body: bytes
    group: str = ""  # messages of different groups are leased in turn (fairness); of one group in order if FIFO
    visible_s: float = 0.0
    expires_s: float = 0.0
    once: str = ""


class Lease(Struct, frozen=True, kw_only=True, tag="lease"):
    """Take up to `most` messages, fewer where they are large. Answered Leases, perhaps of none. The keeper waits up to
    `wait_s` for one.

    `owner` is the client's (`Queues.owner`): its messages are free when it is gone. "": nobody's, free when the lease
    ends. The keeper sets `ask` and `again`: asked `again`, after its death, a Lease is answered with what it leased.
    """

    queue: str
    owner: str
    most: int = 1
    lease_s: float = 0.0  # 0: the queue's; inf: until the owner acknowledges or is gone
    wait_s: float = 0.0
    only_expired: bool = False  # messages that have expired, of a queue that tells
    ask: str = ""
    again: bool = False


class Extend(Struct, frozen=True, kw_only=True, tag="extend"):
    """The lease ends `lease_s` from now; 0 ends it now, and the message waits again."""

    queue: str
    id: str
    token: int
    lease_s: float


class Ack(Struct, frozen=True, kw_only=True, tag="ack"):
    """The message has ended. `puts` are enqueued in the same transaction, or not at all (an outbox). `late`: also when
    the lease is over, as long as nobody has leased the message since (SQS)."""

    queue: str
    id: str
    token: int
    puts: tuple[Put, ...] = ()
    late: bool = False


class Rewrite(Struct, frozen=True, kw_only=True, tag="rewrite"):
    """Replace a leased message's body, under its lease: how far its owner has come, for whoever goes on."""

    queue: str
    id: str
    token: int
    body: bytes


class Return(Struct, frozen=True, kw_only=True, tag="return"):
    """Not done: it waits again, from `visible_s` on. `counts`: this lease counts against `max_leases`."""

    queue: str
    id: str
    token: int
    reason: str
    visible_s: float = 0.0
    counts: bool = True


class Bury(Struct, frozen=True, kw_only=True, tag="bury"):
    """It will never be done: to the dead letters, with the reason. `puts` as with Ack."""

    queue: str
    id: str
    token: int
    reason: str
    puts: tuple[Put, ...] = ()


class Free(Struct, frozen=True, kw_only=True, tag="free"):
    """An owner is gone: its messages wait again at once. Their leases count."""

    owner: str


class Declare(Struct, frozen=True, kw_only=True, tag="declare"):
    """Make a queue, or change its settings."""

    queue: str
    settings: QueueSettings


class Drop(Struct, frozen=True, kw_only=True, tag="drop"):
    """Remove a queue and all that is in it. Leases on it are Lost. `only_empty`: answered Count, nothing done, while
    anything waits in it or is leased."""

    queue: str
    only_empty: bool = False


class Purge(Struct, frozen=True, kw_only=True, tag="purge"):
    """Remove what waits (and with `dead`, only what is dead; with `leased`, also what is leased). Answered Count."""

    queue: str
    dead: bool = False
    leased: bool = False


class Redrive(Struct, frozen=True, kw_only=True, tag="redrive"):
    """Let dead letters wait again where they were buried (or in `into`), oldest first, up to `most`. Answered Count."""

    queue: str
    into: str = ""
    most: int = 1_000_000


class Look(Struct, frozen=True, kw_only=True, tag="look"):
    """How a queue is. Answered Depth; every queue with "" is answered Depths."""

    queue: str = ""
    prefix: str = ""


class List(Struct, frozen=True, kw_only=True, tag="list"):
    """What is in a queue, oldest first, without taking it: `state` is waiting, leased or dead. Answered Messages."""

    queue: str
    state: str = ""
    most: int = 100


Op = Put | Lease | Extend | Ack | Rewrite | Return | Bury | Free | Declare | Drop | Purge | Redrive | Look | List


# --- answers ---------------------------------------------------------------------------------------------------------


class Done(Struct, frozen=True, kw_only=True, tag="done", omit_defaults=True):
    """It is so, durably. `id`: of the message that a Put with the same `once` has enqueued before this one."""

    id: str = ""


class Full(Struct, frozen=True, kw_only=True, tag="full"):
    """Nothing was enqueued: the queue's bound. `what` is `items`, `bytes`, or `disk`."""

    what: str
    limit: int


class NoQueue(Struct, frozen=True, kw_only=True, tag="noqueue"):
    """There is no such queue."""

    queue: str


class Lost(Struct, frozen=True, kw_only=True, tag="lost"):
    """The lease is no longer the caller's (or the message is gone): nothing was changed, `puts` neither.

    An Ack or a Bury that is asked again is answered Done, if that was what ended the message. A Return or an Extend
    that is asked again may be answered Lost though it had been done: either way the lease is over.
    """


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message. `leases` counts those that counted, this one included; times are wall times in seconds."""

    id: str
    body: bytes
    group: str = ""
    token: int = 0  # of the lease; 0: not leased
    leases: int = 0
    put_s: float = 0.0
    first_leased_s: float = 0.0
    expired: bool = False
    state: str = ""  # waiting, leased, dead
    reason: str = ""  # why it was returned or buried last
    origin: str = ""  # of a dead letter: the queue where it was buried


class Leases(Struct, frozen=True, kw_only=True, tag="leases"):
    """Messages that are the owner's now."""

    messages: tuple[Message, ...]


class Messages(Struct, frozen=True, kw_only=True, tag="messages"):
    """Messages as they are."""

    messages: tuple[Message, ...]


class Count(Struct, frozen=True, kw_only=True, tag="count"):
    """How many were concerned."""

    count: int


class Depth(Struct, frozen=True, kw_only=True, tag="depth"):
    """How a queue is. `oldest_put_s` is of the oldest that waits or is leased; 0: there is none."""

    queue: str
    settings: QueueSettings
    waiting: int = 0
    delayed: int = 0  # of those that wait: not visible yet
    leased: int = 0
    dead: int = 0
    bytes: int = 0
    oldest_put_s: float = 0.0
    put: int = 0  # counters since it was made
    ended: int = 0
    returned: int = 0
    expired: int = 0


class Depths(Struct, frozen=True, kw_only=True, tag="depths"):
    """All queues of a prefix."""

    depths: tuple[Depth, ...]


Result = Done | Full | NoQueue | Lost | Leases | Messages | Count | Depth | Depths

DEDUPLICATION_S = 300.0  # how long an id is remembered after its message has ended (SQS FIFO: five minutes)
