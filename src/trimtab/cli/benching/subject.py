"""Subject: the endpoint under load, with what it costs and how busy it was."""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct

from trimtab.advisor.prices.book import book
from trimtab.advisor.prices.fleet import Cost, hosting_cost, with_serverless
from trimtab.aws.client import Client
from trimtab.aws.loaded_endpoint import LoadedEndpoint, Use, billed_gb_s, utilization
from trimtab.cli.render import CliError
from trimtab.jobs.loadtest.crew import Run


class Subject(Struct, frozen=True, kw_only=True):
    """An endpoint. `usd_per_hour` is what the user says that its hardware costs; without it the price book counts."""

    endpoint: LoadedEndpoint
    url: str
    region: str
    usd_per_hour: float | None = None

    def cost(self, client: Client, run: Run) -> Cost | None:
        """What it costs by the hour, and serverless variants by what they billed; None where nobody knows."""
        if self.usd_per_hour is not None:
            return Cost(self.usd_per_hour)
        prices = book()
        instances = hosting_cost(self.endpoint.instances, prices, self.region)
        billed = billed_gb_s(client, self.endpoint, run.started_at_s, run.started_at_s + run.elapsed_s)
        return instances if billed is None else with_serverless(instances, billed, prices, self.region)

    def check(self) -> None:
        """Raises CliError unless it can be invoked."""
        name, status = self.endpoint.name, self.endpoint.status
        if status not in ("InService", "Updating", "SystemUpdating", "RollingBack"):
            raise CliError(f"The endpoint {name} is {status}, not InService.", f"trimtab describe {name}")
        if self.usd_per_hour is not None and not 0 <= self.usd_per_hour < math.inf:
            raise CliError(f"--usd-per-hour must be a number of dollars, not {self.usd_per_hour:g}.")

    def use(self, client: Client, run: Run) -> tuple[list[Use], str]:
        """How busy it was during a run; or why that is not known."""
        return utilization(client, self.endpoint, run.started_at_s, run.started_at_s + run.elapsed_s)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        variants = [
            {"name": v.name, "instance_type": v.instance_type or None, "replicas": v.replicas}
            for v in self.endpoint.variants
        ]
        return {"endpoint": self.endpoint.name, "url": self.url, "region": self.region, "variants": variants}


def dollars(amount: float) -> str:
    """To three figures, however small, and never in powers of ten: `$12.50`, `$0.00000502`."""
    decimals = 2 if amount <= 0 else max(2, 2 - math.floor(math.log10(amount)))
    return f"${amount:,.{decimals}f}"


def cost_document(cost: Cost | None, achieved_per_s: float) -> dict[str, Any] | None:
    """For JSON: dollars, and where they come from."""
    if cost is None:
        return None
    per_1000 = cost.per_1000_requests(achieved_per_s)
    return {
        "usd_per_hour": round(cost.usd_per_hour, 6),
        "usd_per_1000_requests": None if per_1000 is None else float(f"{per_1000:.6g}"),
        "prices": [
            {"item": p.item, "unit": p.unit, "region": p.region, "usd": float(p.usd), "as_of": p.as_of,
             "source": p.source, "is_derived": p.is_derived}
            for p in cost.prices
        ],
        "without_a_price": list(cost.missing),
    }  # fmt: skip


def use_document(use: list[Use], why: str) -> dict[str, Any]:
    """For JSON: percent; `not_measured` says why there is nothing."""
    found = [
        {"variant": u.variant, "metric": u.metric, "average": round(u.average, 2), "maximum": round(u.maximum, 2)}
        for u in use
    ]
    return {"percent": found, "not_measured": why or None}
