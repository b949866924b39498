"""ServerlessVariant: one request in each environment, no more than MaxConcurrency, and each of them billed."""

from __future__ import annotations

from trimtab.errors import TrimtabError
from trimtab.gateway.calls import Call
from trimtab.gateway.variant import Variant
from trimtab.policies.admission import over_concurrency, overlong_serverless
from trimtab.wire.frames import AnswerMeta


class ServerlessVariant(Variant):
    """Asks for an environment as soon as a call finds none that is free, also while there are others."""

    def admit(self, call: Call) -> None:
        """See Variant. What comes while those provisioned are in use spills over to environments on demand."""
        rules = self.route.serverless
        if rules is not None and self.meter is not None and rules.provisioned:
            over = self.meter.in_hand >= rules.provisioned
            self.meter.spilled += over and self.meter.in_hand < rules.max_concurrency
        super().admit(call)

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

    def failed(self, call: Call, error: TrimtabError) -> None:
        """See Variant. What an environment has worked on is billed, whatever came of it."""
        if call.lane is not None and call.sent_s:
            call.lane.meter.bill(self._now_s() - call.sent_s)
        super().failed(call, error)
