"""RouteTable: all that a gateway must know to serve. Control publishes it; gateways serve from the last one."""

from __future__ import annotations

from msgspec import Struct

from trimtab.resources.asynchronous import AsyncSettings
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.replica import Wire
from trimtab.resources.serverless import Serverless


class Lane(Struct, frozen=True, kw_only=True):
    """One model server process that takes requests."""

    replica_id: str
    address: str  # `unix:/path` or `tcp:host:port`
    wire: Wire = Wire.FRAMES
    concurrency: int = 1  # requests it works on at the same time
    batch_size: int = 0  # the most that it works on together; 0: it does not batch
    path: str = ""  # wire HTTP: where requests are posted; "" = /invocations
    alone: bool = False  # it holds one request at a time, none behind it


class HostedRoute(Struct, frozen=True, kw_only=True):
    """What a gateway must know of a multi-model variant, whose lanes lead to model hosts (wire MODELS)."""

    prefix: str  # s3://bucket/key/
    cache: bool = True
    settings: tuple[ModelSetting, ...] = ()


class VariantRoute(Struct, frozen=True, kw_only=True):
    """Where a variant's requests go. `weight` is relative; `lanes` are ready replicas only."""

    name: str
    weight: float
    lanes: tuple[Lane, ...]
    container: str = "primary"  # what error texts call the container
    version: str = ""
    max_queue: int = 1024  # requests that may wait in one gateway for a lane
    max_payload_bytes: int = 26_214_400  # AWS: 25 MB request for real-time endpoints
    timeout_s: float = 60.0  # AWS: a container must answer within 60 s
    hosting: HostedRoute | None = None  # requests name a TargetModel
    most_in_hand: int = 0  # of all gateways together: more are throttled (serverless: MaxConcurrency); 0: no bound
    serverless: Serverless | None = None  # its lanes are `alone`
    signals: bool = False  # control wants to know at once what is in hand: the variant is scaled by events, or at zero


class EndpointRoute(Struct, frozen=True, kw_only=True):
    """One endpoint that takes invocations."""

    name: str
    variants: tuple[VariantRoute, ...]
    uid: str = ""  # of the endpoint's life
    asynchronous: AsyncSettings | None = None


class AccessKey(Struct, frozen=True, kw_only=True):
    """A key pair and what it may do. An empty tuple means everything; patterns are fnmatch's.

    `actions` are `service:Operation` (`sagemaker:InvokeEndpoint`, `s3:*`), `endpoints` are endpoint names.
    """

    id: str
    secret: str
    actions: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()


class RouteTable(Struct, frozen=True, kw_only=True):
    """`version` grows with every change; a gateway that has applied it acknowledges it."""

    version: int
    endpoints: tuple[EndpointRoute, ...] = ()
    keys: tuple[AccessKey, ...] = ()
    require_auth: bool = True
    account: str = "000000000000"
    region: str = "us-east-1"
