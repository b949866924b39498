"""ServerlessVariant: one request in each environment, no more than MaxConcurrency, and each of them billed."""

from __future__ import annotations

from trimtab.errors import TrimtabError
from trimtab.gateway.calls import Call
from trimtab.gateway.shared_count import Bound
from trimtab.gateway.variant import Variant
from trimtab.policies.admission import over_concurrency, overlong_serverless
from trimtab.wire.frames import AnswerMeta


class ServerlessVariant(Variant):
    """Asks for an environment as soon as a call finds none that is free, also while there are others.

    `bound`: what all gateways have in hand together, where there are several.
    """

    bound: Bound | None = None

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
