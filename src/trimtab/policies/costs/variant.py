"""VariantCosts: all that a ledger must remember of one variant to go on charging it. Pure.

It is written down whole whenever it changes, together with what was charged: so a ledger that is killed goes on from
what is written, and a second is charged once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Final

import msgspec
from msgspec import Struct, field

from trimtab.policies.costs.account import NO_SHARES, Account, Charge, Load, Rate, Shares, Work
from trimtab.policies.costs.cells import HOUR_S, Cell
from trimtab.resources.cost import Part, micro_usd

_OVER_KEPT: Final = 50  # a replica that is missed in error is back within seconds
_HOUR_US: Final = HOUR_S * 1_000_000
_MS_PER_GB: Final = 1024  # MiB of a GB


class PayPerUse(Struct, array_like=True):
    """What a serverless variant was billed for since its price has held. `rate`: dollars a second of one request."""

    memory_mib: int
    rate: Rate | None
    billed_ms: int = 0


class ModelUse(Struct, array_like=True):
    """What one model of several did since that was last charged."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    busy_us: int = 0


class VariantCosts(Struct, array_like=True):
    """One variant. `totals`: micro-dollars by Part since it exists. `models`: what each did since it was charged, of
    `version`: they are many, and told every second."""

    accounts: dict[str, Account] = field(default_factory=dict)  # by replica
    totals: dict[str, int] = field(default_factory=dict)
    pay: PayPerUse | None = None
    models: dict[str, ModelUse] = field(default_factory=dict)
    version: str = ""
    over: dict[str, int] = field(default_factory=dict)  # of replicas that are gone: charged through; the newest last

    def open(self, replica_id: str, account: Account) -> None:
        """A replica is there. One that was taken for gone goes on from where it is charged."""
        if (through_us := self.over.pop(replica_id, None)) is not None:
            account.base_us = account.through_us = max(account.through_us, through_us)
        self.accounts[replica_id] = account

    def charge(
        self, to_us: int, shift_us: int, used: Mapping[str, int], held: Mapping[str, Mapping[str, int]]
    ) -> Iterator[Charge]:
        """Charge every replica through `to_us`; those that are over are forgotten. `used`: how long each model worked
        lately; `held`: the bytes of models by replica, where they have several."""
        for replica_id, account in list(self.accounts.items()):
            shares = Shares(used, held[replica_id]) if replica_id in held else NO_SHARES
            yield from account.charge(to_us, shares, hours(account.through_us, to_us, shift_us))
            if account.is_over:
                del self.accounts[replica_id]
                self.over[replica_id] = account.through_us
                while len(self.over) > _OVER_KEPT:
                    del self.over[next(iter(self.over))]

    def take_models(self) -> dict[str, ModelUse]:
        """What models did since this was last asked."""
        taken, self.models = self.models, {}
        return taken

    def paid(self, parts: Mapping[str, int]) -> None:
        """Count what was charged."""
        for part, amount in parts.items():
            self.totals[part] = self.totals.get(part, 0) + amount

    def worked(self, replica_id: str, work: Work) -> None:
        """A report on one replica. Of one that has ended and is charged it comes too late."""
        if (account := self.accounts.get(replica_id)) is not None:
            account.worked(work)

    def bill(self, billed_ms: int, memory_mib: int, rate: Rate | None) -> Cell:
        """Serverless: so many more milliseconds were billed. What they add to a cell; `paid` is not called."""
        pay = self.pay
        if pay is None or (pay.memory_mib, pay.rate) != (memory_mib, rate):
            pay = self.pay = PayPerUse(memory_mib, rate)
        before, pay.billed_ms = _bill_of(pay), pay.billed_ms + billed_ms
        gb_us = billed_ms * 1000 * memory_mib // _MS_PER_GB
        cell = Cell(billed_gb_us=gb_us, unpriced_gb_us=gb_us if rate is None else 0)
        cell.pay(Part.SERVING, _bill_of(pay) - before)
        return cell

    def model_worked(self, model: str, requests: int, tokens: tuple[int, int], busy_us: int) -> None:
        """A report on one of several models."""
        use = self.models.get(model)
        if use is None:
            use = self.models[model] = ModelUse()
        use.requests += requests
        use.input_tokens += tokens[0]
        use.output_tokens += tokens[1]
        use.busy_us += busy_us

    def loaded(self, replica_id: str, model: str, start_us: int, end_us: int, *, again: bool) -> None:
        """A model was loaded into a replica; `again`: it had been evicted."""
        if (account := self.accounts.get(replica_id)) is not None:
            start_us = max(start_us, account.through_us)
            if end_us > start_us:
                account.loads.append(Load(start_us, end_us, model, again))

    def usd_per_hour(self) -> float:
        """What the replicas that there are cost now."""
        return sum(a.rate[0] / a.rate[1] for a in self.accounts.values() if a.rate and a.end_us is None)

    @property
    def is_empty(self) -> bool:
        """Whether no replica is left to be charged."""
        return not self.accounts


def _bill_of(pay: PayPerUse) -> int:
    return 0 if pay.rate is None else micro_usd(Fraction(*pay.rate) * 3600, Fraction(pay.billed_ms, 1000))


def hours(from_us: int, to_us: int, shift_us: int) -> list[int]:
    """The beginnings of hours (of wall time) between two steady times. `shift_us`: steady time less wall time."""
    first = (from_us - shift_us) // _HOUR_US + 1
    last = (to_us - shift_us - 1) // _HOUR_US
    return [hour * _HOUR_US + shift_us for hour in range(first, last + 1)]


packed = msgspec.msgpack.Encoder().encode
unpacked = msgspec.msgpack.Decoder(VariantCosts).decode
packed_cell = msgspec.msgpack.Encoder().encode
unpacked_cell = msgspec.msgpack.Decoder(Cell).decode
