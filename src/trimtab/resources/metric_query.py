"""What somebody wants to see of metrics: one statistic of one metric, or math over others (AWS: MetricDataQuery)."""

from __future__ import annotations

from msgspec import Struct


class MetricStat(Struct, frozen=True):
    """A statistic of a metric, every `period_s` seconds. `unit` "" takes any."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]  # sorted by name
    period_s: int
    stat: str
    unit: str = ""


class MetricQuery(Struct, frozen=True):
    """Either `stat` or `expression`, known to other queries' expressions as `id`."""

    id: str
    stat: MetricStat | None = None
    expression: str = ""
    label: str | None = None
    return_data: bool = True
    period_s: int = 0  # of an expression that asks for one; 0: of what it is made of
