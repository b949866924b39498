"""Config: parsed once, frozen, passed down. Paths of a data directory are named here and nowhere else."""

from __future__ import annotations

import enum
import hashlib
import os
import tempfile
from pathlib import Path

from msgspec import Struct

# A Unix socket's path may have 107 bytes, and `/trimtab-UID-DIGEST/w/REPLICA-INDEX.sock` below the base up to 70.
_RUN_BASE_BYTES = 36


HOUSE_VARIABLE = "TRIMTAB_HOUSE"
"""Environment variable that names one supervisor's life: what is born in it carries the name, and dies with it."""


class Auth(enum.StrEnum):
    """Whether callers must sign."""

    SIGV4 = "sigv4"
    NONE = "none"  # loopback only


class Config(Struct, frozen=True, kw_only=True):
    """Everything `trimtab serve` can be told. Sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 7070
    data_dir: Path
    gateways: int = 1
    auth: Auth = Auth.SIGV4
    region: str = "us-east-1"
    account: str = "000000000000"
    log_level: str = "INFO"
    enforce_instance_shapes: bool = False  # pin CPUs and limit memory to what the instance type has
    max_artifact_bytes: int = 20 * 2**30  # unpacked
    artifact_cache_bytes: int = 20 * 2**30
    max_payload_bytes: int = 26_214_400  # AWS: 25 MB per real-time request
    invocation_timeout_s: float = 60.0
    drain_grace_s: float = 60.0
    queues_url: str = ""  # postgresql://...; "" = SQLite in the data directory
    sns_endpoint_url: str = ""  # of a real SNS, for the notices of endpoints; "" = the topics are here
    meters: bool = True  # whether gateways count; off only to measure what counting costs

    @property
    def paths(self) -> Paths:
        """The files and folders below `data_dir`."""
        return Paths(self.data_dir)


class Paths:
    """Layout of a data directory (durable) and of its run directory (sockets; gone with the machine)."""

    FORMAT = 1  # written to `version`; a directory of another format is refused with the cure

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.version = data_dir / "version"
        self.lock = data_dir / "lock"
        self.keys = data_dir / "keys.json"  # owner-readable only
        self.server = data_dir / "server.json"  # {"url", "region", "pid"} of the trimtab that runs here
        self.database = data_dir / "trimtab.db"
        self.metrics = data_dir / "metrics.db"  # apart: it may be deleted, and nothing but history is lost
        self.scaling = data_dir / "scaling.db"  # what scaling saw and decided, for a while; may be deleted, too
        self.queues = data_dir / "queues.db"
        self.name = data_dir / "name"  # of this data directory among those that share queues
        self.notices = data_dir / "notices.pem"  # signs messages to subscribers; owner-readable only
        # Which model was loaded and unloaded when and why; a day's single requests. May be deleted, too.
        self.loads = data_dir / "loads.db"
        self.idle_times = data_dir / "idle-times.msgpack"  # of serverless environments; may be deleted, too
        self.objects = data_dir / "objects"
        self.spool = data_dir / "spool"  # large inputs and outputs of asynchronous tasks, while they are in work
        self.artifacts = data_dir / "cache" / "artifacts"
        self.layers = data_dir / "cache" / "layers"
        self.hosted = data_dir / "cache" / "hosted"  # REPLICA: what a foreign multi-model program reads
        self.logs = data_dir / "logs"  # ENDPOINT/VARIANT/REPLICA.log
        self.routes = data_dir / "routes.msgpack"  # last published RouteTable, owner-readable only
        self.runtimes = data_dir / "runtimes.toml"  # the user's additions to the runtime table

    @property
    def run_dir(self) -> Path:
        """A short path for sockets, private to this user and data_dir. In /tmp where the usual place is too long."""
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        if len(os.fsencode(base)) > _RUN_BASE_BYTES:
            base = Path("/tmp")
        digest = hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:12]
        return base / f"trimtab-{os.getuid()}-{digest}"

    @property
    def control_socket(self) -> Path:
        """Where control answers HTTP: every call that is not data plane."""
        return self.run_dir / "control.sock"

    @property
    def routes_socket(self) -> Path:
        """Where control publishes the route table to gateways and takes their acknowledgements."""
        return self.run_dir / "routes.sock"

    @property
    def reports_socket(self) -> Path:
        """Where gateways report to control what they have counted."""
        return self.run_dir / "reports.sock"

    @property
    def signals_socket(self) -> Path:
        """Where gateways tell control at once what they have in hand of variants that are scaled by events."""
        return self.run_dir / "signals.sock"

    @property
    def in_hand_dir(self) -> Path:
        """What each of several gateways has in hand of serverless variants: a file for each variant."""
        return self.run_dir / "in-hand"

    @property
    def hosts_socket(self) -> Path:
        """Where model hosts ask control for artifacts and tell it what they load and unload."""
        return self.run_dir / "hosts.sock"

    @property
    def queues_socket(self) -> Path:
        """Where the process that keeps the queues takes ops."""
        return self.run_dir / "queues.sock"

    @property
    def nursery_socket(self) -> Path:
        """Where the nursery takes orders."""
        return self.run_dir / "nursery.sock"

    @property
    def workers_dir(self) -> Path:
        """One socket per worker: `REPLICA-INDEX.sock`."""
        return self.run_dir / "w"

    @property
    def models_dir(self) -> Path:
        """Birth records and sockets of the workers that model hosts keep: apart, since no engine adopts those."""
        return self.run_dir / "m"

    @property
    def record_dirs(self) -> tuple[Path, ...]:
        """Where processes of models have their birth records."""
        return self.workers_dir, self.models_dir


def default_data_dir() -> Path:
    """`$TRIMTAB_DATA_DIR`, else `$XDG_DATA_HOME/trimtab`, else `~/.local/share/trimtab`."""
    if explicit := os.environ.get("TRIMTAB_DATA_DIR"):
        return Path(explicit)
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "trimtab"
