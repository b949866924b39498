"""RouteBook: the table published last, its file, and who has applied which version. No sockets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.files import write_whole
from trimtab.logs import fields
from trimtab.resources.names import key_of
from trimtab.resources.routing import AccessKey, EndpointRoute, RouteTable

logger = logging.getLogger(__name__)


class RouteBook:
    """The route table and its acknowledgements.

    Versions grow across restarts: each is above the last one in the file and not below the wall clock's
    milliseconds, so that even a lost file does not bring back an old number.

    A table is pushed first, because a request may wait for it, and written then: `keep_later` sees to that. Nothing is
    settled before it is written, so that nobody who starts by the file meets a replica that was drained since. A
    control that dies in between is succeeded by one that goes on from the table before: what was added, or has died, is
    seen anew, and what was to be drained is whole still.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        keys: Sequence[AccessKey] = (),
        require_auth: bool = True,
        account: str = "000000000000",
        region: str = "us-east-1",
        expected_gateways: int = 0,
        reconnect_s: float = 2.0,
    ) -> None:
        """`expected_gateways` may still route by the table in the file: until so many have connected, or for
        `reconnect_s` seconds, nothing counts as applied everywhere."""
        self._path = path
        self._clock = clock
        self._applied: dict[int, int] = {}  # connected gateway -> the version it has applied
        self._expected = expected_gateways
        self._unsaved = False  # the file is older than the table
        self._untried = False  # and writing has not been tried yet
        self.keep_later: Callable[[], object] = self.save
        self.on_publish: Callable[[], None] = lambda: None
        self.on_settled: Callable[[str], None] = lambda key: None
        last = self._read()
        self._known_gateways_by_s = clock.monotonic_s() + reconnect_s if last else 0.0
        self.table = last or RouteTable(version=0)
        self._routes = {key_of(route.name): route for route in self.table.endpoints}
        self._changed = dict.fromkeys(self._routes, self.table.version)  # key -> version that changed it last
        self._unsettled = set(self._routes)
        self._change(keys=tuple(keys), require_auth=require_auth, account=account, region=region)
        self.save()

    def route(self, key: str) -> EndpointRoute | None:
        """The published route of an endpoint."""
        return self._routes.get(key)

    def ready(self, endpoint: str, variant: str) -> int:
        """The replicas of a variant that take requests."""
        route = self._routes.get(key_of(endpoint))
        variants = route.variants if route is not None else ()
        return len({lane.replica_id for of in variants if of.name == variant for lane in of.lanes})

    def publish(self, key: str, route: EndpointRoute | None) -> None:
        """Make `route` the endpoint's route (None: out of the table) in a new version, pushed, then on disk."""
        if self._routes.get(key) == route:
            return
        if route is None:
            del self._routes[key]
        else:
            self._routes[key] = route
        self._change(endpoints=tuple(self._routes.values()))
        self._changed[key] = self.table.version
        self._unsettled.add(key)
        self.on_publish()
        self.keep_later()

    def set_keys(self, keys: Sequence[AccessKey]) -> None:
        """Publish other access keys."""
        self._change(keys=tuple(keys))
        self.on_publish()
        self.keep_later()

    # acknowledgements

    def connected(self, gateway: int) -> None:
        """A gateway is there; until it acknowledges it may route by any table."""
        self._applied[gateway] = -1

    def applied(self, gateway: int, version: int) -> None:
        """A connected gateway routes by `version` from now on."""
        if gateway in self._applied:
            self._applied[gateway] = max(version, self._applied[gateway])
            self._tell_settled()

    def disconnected(self, gateway: int) -> None:
        """A gateway has gone; it holds nothing up any more."""
        self._applied.pop(gateway, None)
        self._tell_settled()

    def acked(self) -> int | None:
        """The version that every connected gateway has at least applied; None while gateways may be unknown."""
        if len(self._applied) < self._expected and self._clock.monotonic_s() < self._known_gateways_by_s:
            return None
        return min(self._applied.values(), default=self.table.version)

    def settled(self, key: str) -> bool:
        """Whether no connected gateway routes the endpoint by an older route than the published one.

        Whoever is told no hears of it by `on_settled` once it is so; an endpoint that was out of the table already when
        this book was opened, too.
        """
        settled = self._is_settled(key)
        if not settled:
            self._unsettled.add(key)
        return settled

    def _is_settled(self, key: str) -> bool:
        acked = self.acked()
        return not self._untried and acked is not None and acked >= self._changed.get(key, 0)

    def behind(self, gateway: int) -> bool:
        """Whether a connected gateway has not applied the newest version yet."""
        return self._applied.get(gateway, self.table.version) < self.table.version

    def recheck_in_s(self) -> float | None:
        """When gateways that were expected stop holding things up; None when they do not."""
        left_s = self._known_gateways_by_s - self._clock.monotonic_s()
        return left_s if left_s > 0 and len(self._applied) < self._expected else None

    def _tell_settled(self) -> None:
        for key in [key for key in self._unsettled if self._is_settled(key)]:
            self._unsettled.discard(key)
            if key not in self._routes:
                self._changed.pop(key, None)
            self.on_settled(key)

    # the file

    def save(self) -> bool:
        """Write the file if it is older than the table; return whether it is up to date."""
        if self._unsaved:
            self._save(self.packed)
            self._untried = False
            self._tell_settled()
        return not self._unsaved

    def _change(self, **changes: object) -> None:
        version = max(self.table.version + 1, int(self._clock.now_s() * 1000))
        self.table = replace(self.table, version=version, **changes)
        self.packed = msgspec.msgpack.encode(self.table)
        self._unsaved = self._untried = True

    def _save(self, data: bytes) -> None:
        """Owner-readable: it holds secrets."""
        try:
            write_whole(self._path, data, mode=0o600, sync=False)
            self._unsaved = False
        except OSError as error:
            # A full disk must not keep a dead replica in routing: gateways get the table, the file is tried again.
            self._unsaved = True
            logger.error(
                "the route table could not be written; gateways that start now route by the one before %s",
                fields(path=self._path, version=self.table.version, error=error),
            )

    def _read(self) -> RouteTable | None:
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=RouteTable)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            logger.warning("the last route table is not readable; making it anew %s", fields(error=error))
            return None
