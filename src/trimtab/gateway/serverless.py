"""ServerlessVariant: one request in each environment, no more than MaxConcurrency, and each of them billed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from trimtab.errors import TrimtabError
from trimtab.gateway.calls import Call
from trimtab.gateway.lane import Lane
from trimtab.gateway.shared_count import Bound, Claim
from trimtab.gateway.variant import Variant
from trimtab.logs import fields
from trimtab.policies.admission import over_concurrency, overlong_serverless
from trimtab.resources.routing import VariantRoute
from trimtab.wire.frames import AnswerMeta

logger = logging.getLogger(__name__)

_FIRST_LOOK_S: Final = 0.0005
_LAST_LOOK_S: Final = 0.016


class ServerlessVariant(Variant):
    """Asks for an environment as soon as a call finds none that is free, also while there are others.

    `bound`: what all gateways have in hand together, where there are several.
    """

    bound: Bound | None = None

    def __init__(self, route: VariantRoute, **rest: Any) -> None:
        super().__init__(route, **rest)
        self._claims: dict[Lane, Claim | None] = {}  # None: there can be none, and others are not seen
        self._held: set[Lane] = set()  # claimed: something of this gateway's is in hand there
        self._look: asyncio.TimerHandle | None = None
        self._look_s = _FIRST_LOOK_S

    def admit(self, call: Call) -> None:
        """See Variant. What comes while those provisioned are in use spills over to environments on demand."""
        rules = self.route.serverless
        if rules is not None and self.meter is not None and rules.provisioned:
            over = self.meter.in_hand >= rules.provisioned
            self.meter.spilled += over and self.meter.in_hand < rules.max_concurrency
        if self.bound is not None:
            refusal = over_concurrency(self.route, in_hand=self.bound.ask(self.in_hand + 1))
            if refusal is not None:
                self._refuse(call, refusal)
                return
        super().admit(call)

    def _refuse(self, call: Call, refusal: TrimtabError) -> None:
        """Count a call that is not taken in, and say so."""
        if (meter := self.meter) is not None:
            meter.in_hand += 1
            meter.most = max(meter.most, meter.in_hand)
        call.variant = self
        call.arrived_s = call.arrived_s or self._now_s()
        self.failed(call, refusal)

    def retire(self) -> None:
        """See Variant. Another one of the same name may count from now on."""
        self.bound = None
        super().retire()

    def _tell(self) -> None:
        if self.bound is not None:
            self.bound.tell(self.in_hand)
        self._leave()

    # --- environments that other gateways see, too ---------------------------------------------------------------

    def _pick(self) -> Lane | None:
        """See Variant: one that no other gateway has a request in."""
        if self.bound is None:
            return super()._pick()
        free = [lane for lane in self.lanes if lane.ready and lane.outstanding < lane.window]
        first = int(self._random() * len(free))
        for lane in free[first:] + free[:first]:
            if self._take(self.bound, lane):
                self._look_s = _FIRST_LOOK_S
                return lane
        if free and self._look is None:
            # Nobody tells when another gateway lets go. What waits is seldom and short: environments come for it.
            delay_s, self._look_s = self._look_s * (0.5 + self._random()), min(2 * self._look_s, _LAST_LOOK_S)
            self._look = asyncio.get_running_loop().call_later(delay_s, self._look_again)
        return None

    def _look_again(self) -> None:
        self._look = None
        self.has_room()

    def _take(self, bound: Bound, lane: Lane) -> bool:
        if lane not in self._claims:
            self._claims[lane] = self._claim(bound, lane)
        claim = self._claims[lane]
        if claim is not None and not claim.take():
            return False
        self._held.add(lane)
        return True

    def _claim(self, bound: Bound, lane: Lane) -> Claim | None:
        try:
            return bound.claim(lane.route.replica_id)
        except OSError as error:
            logger.error(
                "other gateways may send to an environment that is busy %s",
                fields(endpoint=self.endpoint, replica=lane.route.replica_id, error=error),
            )
            return None

    def _leave(self) -> None:
        """Let go of environments that have nothing of this gateway's in hand any more."""
        for lane in [lane for lane in self._held if not lane.outstanding]:
            self._held.remove(lane)
            if (claim := self._claims[lane]) is not None:
                claim.leave()
            if lane not in self.lanes:
                self._end(lane)

    def _end(self, lane: Lane) -> None:
        if (claim := self._claims.pop(lane)) is not None:
            claim.end()

    def change(self, route: VariantRoute, lanes: tuple[Lane, ...]) -> None:
        """See Variant."""
        super().change(route, lanes)
        self._leave()
        for lane in self._claims.keys() - self._held - set(lanes):
            self._end(lane)

    def sweep(self, now_s: float) -> bool:
        """See Variant. What was abandoned may have left its environment."""
        busy = super().sweep(now_s)
        self._leave()
        return busy

    # --- what becomes of calls -----------------------------------------------------------------------------------

    def _wait(self, call: Call) -> None:
        refusal = over_concurrency(self.route, in_hand=self.in_hand)
        if refusal is not None:
            self.failed(call, refusal)
            return
        super()._wait(call)
        if self.lanes and not call.done:
            self._starved(self)

    def answered(self, call: Call, meta: AnswerMeta, body: bytes, now_s: float) -> None:
        """See Variant. A longer answer than AWS passes on is an error of the model."""
        if (refusal := overlong_serverless(len(body))) is not None:
            self.failed(call, refusal)
            return
        super().answered(call, meta, body, now_s)
        self._tell()

    def ended(self, call: Call, now_s: float) -> None:
        """See Variant."""
        super().ended(call, now_s)
        self._tell()

    def cancel(self, call: Call) -> None:
        """See Variant."""
        super().cancel(call)
        self._tell()

    def _move(self, call: Call) -> None:
        super()._move(call)
        self._tell()

    def failed(self, call: Call, error: TrimtabError) -> None:
        """See Variant. What an environment has worked on is billed, whatever came of it."""
        if call.lane is not None and call.sent_s:
            call.lane.meter.bill(self._now_s() - call.sent_s)
        super().failed(call, error)
        self._tell()
