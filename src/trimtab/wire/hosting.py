"""What passes around a model host: the process that is one replica of a multi-model endpoint (`trimtab/host`).

It holds no requests. It loads models, each in a worker of its own, and tells gateways where they are; the gateways send
requests straight to those workers. Two connections, both over Unix sockets (or TCP) and both lost without harm:

1. gateway -> host, on the replica's address, in frames (`wire/frames.py`; stream 0, meta empty, payload MessagePack):

    gateway -> host: WANT (payload Want), USED (payload Used).
    host -> gateway: MODEL (payload ModelAt): all that the host holds when a gateway has connected, then every change.

   A `Want` is answered by a `ModelAt` that is READY or FAILED, sooner or later, and by one that is LOADING at once
   (without a version while that is not known): a gateway that hears nothing asks another host, too. A gateway whose
   connection was lost asks again. Before a worker is told to drain, every gateway is told LEAVING: what a worker
   refuses all the same goes back to its gateway's queue, which asks again. So no request is lost between an eviction
   and a request.

2. host -> control, on `Paths.hosts_socket`: u32 little-endian size, MessagePack of a `HostSays`; back: `ControlSays`.
   Control brings artifacts to the local disk and tells what has changed; it decides nothing about loaded models, and a
   host serves what it holds while control is away.
"""

from __future__ import annotations

import enum

from msgspec import Struct, field

from trimtab.resources.hosting import ModelSetting
from trimtab.resources.routing import Lane

ABSENT, SHORT = "absent", "short"  # Want.why: what a host's own program has answered
MAX_BYTES = 1 << 24  # of one message to or from control (wire/sized.py)


# --- between gateways and a host -------------------------------------------------------------------------------------


class Want(Struct, array_like=True, frozen=True):
    """Requests wait for a model. `why` is one of: `asked` (no copy of it is known), `hot` (the copies that there are do
    not suffice; `words` has the numbers), `gone` (a copy was there and has gone), `absent` (the host's program answered
    404: it does not know the model; the host looks, and loads it again), `short` (its program answered 507: the model
    ran out of memory while it worked; the host unloads it, and answers nothing: others are asked for it)."""

    model: str
    why: str = "asked"
    words: str = ""


class Use(Struct, array_like=True, frozen=True):
    """What one gateway did with one model since it last told. `in_hand`: sent to this host's copies, not answered yet;
    `misses`: of `requests`, those that came before the model was loaded anywhere, as far as the gateway knew; `done`:
    versions that are LEAVING and of which this gateway has nothing in hand any more, told once for each."""

    model: str
    requests: int
    in_hand: int
    misses: int = 0
    done: tuple[str, ...] = ()


class Used(Struct, array_like=True, frozen=True):
    """Told a few times a second, and at once when a model that had requests in hand has none left."""

    uses: tuple[Use, ...]


class ModelState(enum.StrEnum):
    """What a host says of one model."""

    LOADING = "Loading"  # on its way
    READY = "Ready"  # at `lanes`
    LEAVING = "Leaving"  # send nothing new to the lanes of `version`
    FAILED = "Failed"  # not loaded; those who wait are to be told `reason` and `message`


class ModelAt(Struct, array_like=True, frozen=True, gc=False):
    """Where one version of a model is, in this host. After an artifact was overwritten two versions exist for a while:
    the new one is READY before the old one is LEAVING, where memory allows."""

    model: str
    version: str  # of the artifact: changes when it is overwritten
    state: ModelState
    lanes: tuple[Lane, ...] = ()
    reason: str = ""  # a Failure.reason, of FAILED; `NotReady` means: ask again
    message: str = ""
    text: str = ""  # why, for people


# --- between a host and control --------------------------------------------------------------------------------------


class HostHello(Struct, frozen=True, kw_only=True, tag="hello"):
    """Which replica speaks. First, once per connection. `holds` are artifacts that it reads (paths), to be leased."""

    replica_id: str
    endpoint: str
    variant: str
    prefix: str
    holds: tuple[str, ...] = ()


class Fetch(Struct, frozen=True, kw_only=True, tag="fetch"):
    """Bring a model's artifact to the local disk, leased for this host; answered by Files or NoFiles of that id."""

    id: int
    model: str


class Release(Struct, frozen=True, kw_only=True, tag="release"):
    """One lease less on the artifact at `path`."""

    path: str


class ModelEvent(Struct, frozen=True, kw_only=True, tag="event", omit_defaults=True):
    """Something that happened to one model in one replica, for metrics and for `explain`. Times in seconds.

    `what`: loaded, load failed, unloaded, crashed, refused, changed. `why` is one word: asked, hot, pinned, copies, new
    version (of loads); evicted, expired, not cached, new version, deleted, no longer pinned, no memory,
    stopped (of unloads).
    """

    at_s: float
    model: str
    what: str
    why: str = ""
    version: str = ""
    text: str = ""  # the numbers behind it, for people: "evicted for b.tar.gz: 3.1 ms of load a MiB against 7.9"
    bytes: int = 0  # measured footprint; of a load: after it
    artifact_bytes: int = 0  # of a load: unpacked
    wait_s: float | None = None  # from the first request for it
    download_s: float | None = None
    load_s: float | None = None
    unload_s: float | None = None
    failure: str = ""  # Failure.reason
    requests: int = 0  # of an unload: what it had answered
    misses: int = 0  # of these, those that had waited for it
    seq: int = 0  # grows by one per host: control keeps the last that it has written, and drops repetitions


class Resident(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model in a host's memory, as a list shows it."""

    model: str
    version: str
    state: ModelState
    bytes: int = 0  # measured; forecast while it loads
    peak_bytes: int = 0
    gpu_bytes: int = 0
    pid: int = 0
    loaded_s: float = 0.0  # wall time
    used_s: float = 0.0  # wall time of the last request
    requests: int = 0
    misses: int = 0
    in_hand: int = 0
    load_s: float = 0.0
    value: float = 0.0  # what eviction goes by: seconds of loading that keeping it saves, per second and MiB
    pinned: bool = False
    why: str = ""


class Holding(Struct, frozen=True, kw_only=True, tag="holding"):
    """All that the host holds. Sent once a second while anything changes, and when control asks."""

    residents: tuple[Resident, ...]
    memory_bytes: int  # the bound of all models together
    used_bytes: int
    hits: int = 0  # counters since the host was born: requests that found their model ready
    misses: int = 0


class Events(Struct, frozen=True, kw_only=True, tag="events"):
    """What happened, oldest first. Kept by the host until acknowledged (Noted)."""

    events: tuple[ModelEvent, ...]


HostSays = HostHello | Fetch | Release | Holding | Events


class Files(Struct, frozen=True, kw_only=True, tag="files"):
    """An artifact is here: unpacked at `path`, read-only, leased until it is released or this host has gone."""

    id: int
    path: str
    version: str  # the content's digest
    size_bytes: int  # unpacked
    fetched: bool  # False: it was on the disk already
    layers: tuple[str, ...] = ()  # installed requirements, as WorkerLaunch.layers
    fresh: bool = False  # the worker needs an interpreter of its own
    took_s: float = 0.0


class NoFiles(Struct, frozen=True, kw_only=True, tag="nofiles"):
    """It cannot be had. `reason` is a Failure.reason; `transient`: asking again may help (a store that is away)."""

    id: int
    reason: str
    message: str
    transient: bool = False


class Changed(Struct, frozen=True, kw_only=True, tag="changed"):
    """The object of a model was overwritten (`version` of the new content unknown until it is fetched), or deleted."""

    model: str
    deleted: bool = False


class Settings(Struct, frozen=True, kw_only=True, tag="settings"):
    """What users have set, and what this replica is to hold unasked. Sent after Hello and on every change."""

    settings: tuple[ModelSetting, ...] = ()
    hold: dict[str, str] = field(default_factory=dict)  # model -> why: `pinned`, `copies`


class Noted(Struct, frozen=True, kw_only=True, tag="noted"):
    """Events up to `seq` are durable."""

    seq: int


ControlSays = Files | NoFiles | Changed | Settings | Noted
