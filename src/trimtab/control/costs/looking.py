"""What has become of a variant's replicas since they were last looked at: births, ends, versions, prices.

Changes VariantCosts. Times are microseconds of steady time. What changes how the time before is charged needs that time
to be charged first: `settle` is called for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Final

from msgspec import Struct

from trimtab.control.costs.prices import Prices
from trimtab.policies.costs.account import SECOND_US, Account, Rate
from trimtab.policies.costs.variant import VariantCosts
from trimtab.resources.deployment import EndpointRecord, replica_prefix
from trimtab.resources.replica import ReplicaState, ReplicaStatus, Wire
from trimtab.resources.serverless import INSTANCE_TYPE_PREFIX, Serverless

RESERVED: Final = "provisioned"  # in the place of a replica's id
_ENDED: Final = (ReplicaState.FAILED, ReplicaState.GONE)
_SERVES: Final = (ReplicaState.READY, ReplicaState.DRAINING)


class Moment(Struct, frozen=True, kw_only=True):
    """When a look is taken. `shift_us`: steady time less wall time. `first_us`: no replica is older than the machine.
    `missing_us`: when a replica that is not there any more was last known to be."""

    now_us: int
    shift_us: int
    first_us: int
    missing_us: int


def look(costs: VariantCosts, replicas: Iterable[ReplicaStatus], record: EndpointRecord | None, at: Moment) -> bool:
    """Births, readiness and ends. Whether anything has changed."""
    before = _state(costs)
    there = set()
    for replica in replicas:
        there.add(replica.id)
        account = costs.accounts.get(replica.id)
        if account is None:
            if replica.state in _ENDED or (account := _born(replica, record, at)) is None:
                continue  # it failed before it was ever seen: what was to be charged for it is not known
            costs.open(replica.id, account)
        elif replica.state not in _ENDED:
            account.end_us = None  # it was missing for a while
        if account.ready_us is None and replica.state in _SERVES:
            took_s = replica.budget.load_time_s
            ready_us = at.now_us if took_s is None else account.base_us + int(took_s * SECOND_US)
            account.ready_us = max(account.through_us, min(at.now_us, ready_us))
            account.lanes = max(1, len(replica.addresses)) if replica.wire is not Wire.MODELS else 1
        if account.end_us is None and replica.state in _ENDED:
            account.end_us = at.now_us
    for replica_id, account in costs.accounts.items():
        if replica_id not in there and not account.reserved and account.end_us is None:
            account.end_us = max(account.through_us, at.missing_us)
    return before != _state(costs)


def _state(costs: VariantCosts) -> list[tuple[str, int | None, int | None]]:
    return [(name, account.ready_us, account.end_us) for name, account in costs.accounts.items()]


def _born(replica: ReplicaStatus, record: EndpointRecord | None, at: Moment) -> Account | None:
    """The account of a replica that was not known; None of a serverless environment: its requests are charged."""
    deployed = record.deployed(replica.id, replica.variant) if record is not None else None
    instance_type = ""
    if deployed is not None:
        serverless = deployed.spec.serverless
        instance_type = deployed.spec.instance_type if serverless is None else serverless.instance_type
    if instance_type.startswith(INSTANCE_TYPE_PREFIX):
        return None
    born_us = int(replica.started_s * SECOND_US) + at.shift_us if replica.started_s else at.now_us
    born_us = min(at.now_us, max(at.first_us, born_us))
    return Account(replica.version, instance_type, None, born_us, born_us)


def look_at_prices(costs: VariantCosts, prices: Callable[[str], Rate | None], settle: Callable[[], None]) -> bool:
    """Prices of replicas; another one counts from now on. Whether one has changed."""
    found = {
        name: rate
        for name, account in costs.accounts.items()
        if not account.reserved and account.end_us is None and (rate := prices(account.instance_type)) != account.rate
    }
    return _priced(costs, found, settle)


def _priced(costs: VariantCosts, found: Mapping[str, Rate | None], settle: Callable[[], None]) -> bool:
    if any(costs.accounts[name].through_us != costs.accounts[name].base_us for name in found):
        settle()
    for name, rate in found.items():
        if name in costs.accounts:
            costs.accounts[name].priced(rate)
    return bool(found)


def look_at_versions(
    costs: VariantCosts, record: EndpointRecord | None, now_us: int, settle: Callable[[], None]
) -> bool:
    """Which replicas are of a version that does not take the traffic while another one does. Whether it has changed."""
    if record is None or record.serving is None:
        return False
    current = replica_prefix(record.uid, record.serving.generation)
    replaced = {name: not name.startswith(current) for name, account in costs.accounts.items() if not account.reserved}
    if any(not replaced[name] and costs.accounts[name].replaced_us is not None for name in replaced):
        settle()
    changed = False
    for name, is_replaced in replaced.items():
        account = costs.accounts.get(name)
        if account is not None and is_replaced is (account.replaced_us is None):
            account.replaced_us = now_us if is_replaced else None
            changed = True
    return changed


def look_at_reserved(
    costs: VariantCosts,
    rules: Serverless | None,
    version: str,
    prices: Prices,
    now_us: int,
    settle: Callable[[], None],
) -> bool:
    """Provisioned environments are paid for while they are wanted. Whether that has changed."""
    account = costs.accounts.get(RESERVED)
    if rules is None or not rules.provisioned:
        if account is None or account.end_us is not None:
            return False
        account.end_us = now_us
        return True
    price = prices.provisioned_usd_per_s(rules.memory_mib)
    rate = None if price is None else rate_of(price * 3600 * rules.provisioned)
    if account is None or account.end_us is not None:
        settle()
        costs.accounts[RESERVED] = Account(
            version, rules.instance_type, rate, now_us, now_us, ready_us=now_us, reserved=True
        )
        return True
    changed = (rate, version, rules.instance_type) != (account.rate, account.version, account.instance_type)
    if changed:
        settle()
        account.priced(rate)
        account.version, account.instance_type = version, rules.instance_type
    return changed


def rate_of(usd_per_hour: Fraction | None) -> Rate | None:
    """As accounts keep it."""
    return None if usd_per_hour is None else (usd_per_hour.numerator, usd_per_hour.denominator)
