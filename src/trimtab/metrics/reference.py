"""docs/metrics.md: made of `names.py` and `families.py`, never by hand.

`python -m trimtab.metrics.reference` writes it; a test fails when the page is not what this would write.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from trimtab.metrics.families import BOUNDS_S, FAMILIES
from trimtab.metrics.names import INSTANCES, METRICS, SAGEMAKER, TRIMTAB

PAGE: Final = Path("docs/metrics.md")

_INTRODUCTION: Final = """\
# Metrics

Written by `python -m trimtab.metrics.reference`; edit `src/trimtab/metrics/names.py` and `families.py` instead.

Every request is counted in the gateway that served it. Once a second a gateway reports to control, which keeps every
metric at a resolution of one second; a request can be seen 1.5 s after its answer at the latest. Reports are numbered
and acknowledged: a request counts once, also when control or the machine's clock is replaced under way. A gateway that
is killed takes what it counted since its last report with it (about a second).

Points are kept as CloudWatch keeps them: 1 s for 3 hours, 60 s for 15 days, 300 s for 63 days, 3,600 s for 455 days.
Percentiles are within 1 %; sums, counts, minima and maxima are exact. All of it is in `metrics.db` in the data
directory, bounded to 4 GiB: when it is full, the finest points are kept for a shorter time. The file may be deleted
while trimtab is stopped; a damaged one is set aside at the start, and metrics begin anew.

An endpoint that nobody calls publishes zeros for Invocations, InvocationsPerInstance, ConcurrentRequestsPerModel and
Utilization once a minute. A deleted endpoint stops publishing; its history stays. `MetricsConfig` of an endpoint config
is checked and described, and changes nothing: what AWS publishes every 10 to 300 s is there each second in any case.

## CloudWatch

Of a rate (Invocation4XXErrors, Errors, ...) each request is a 0 or a 1: Sum is the count, Average the rate. With the
dimension `Reason` only seconds with such an error have a point: use Sum.
"""

_PROMETHEUS: Final = """\
## Prometheus

`GET /metrics` on trimtab's port, in the text format 0.0.4 or, when asked for, OpenMetrics 1.0. Prometheus cannot sign
requests as AWS's clients do, so it gives an access key as user name and password (HTTP Basic); a signature for
`monitoring` is taken, too, and under `--auth none` nothing is needed. The key needs `cloudwatch:GetMetricData`; one
that is limited to endpoints sees these.

    trimtab keys create --name prometheus --action cloudwatch:GetMetricData

```yaml
scrape_configs:
  - job_name: trimtab
    scrape_interval: 15s
    basic_auth:
      username: TRIM...                                # the access key's id
      password_file: /etc/prometheus/trimtab-secret    # its secret
    static_configs:
      - targets: ["localhost:7070"]
```

What gateways count and the totals of replicas go on over restarts of trimtab; they begin at zero when `metrics.db` is
deleted, and when an endpoint is deleted and made again. A variant's last 8 versions have series. Gauges of a deleted
endpoint disappear with it.

p99 of an endpoint over 5 minutes, and its error rate by model version:

```promql
histogram_quantile(0.99, sum by (endpoint, le) (rate(trimtab_invocation_duration_seconds_bucket[5m])))
sum by (endpoint, version) (rate(trimtab_invocation_errors_total[5m]))
```
"""

_NAMESPACES: Final = {
    SAGEMAKER: "As AWS publishes them.",
    INSTANCES: "As AWS publishes them, of processes instead of machines.",
    TRIMTAB: "What AWS does not publish.",
}


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_cloudwatch(), _PROMETHEUS, *_prometheus()])


def _cloudwatch() -> Iterator[str]:
    for namespace, meaning in _NAMESPACES.items():
        yield f"### {namespace}\n\n{meaning}\n"
        yield "| metric | unit | dimensions | |\n|---|---|---|---|"
        for metric in METRICS:
            if metric.namespace == namespace:
                dimensions = "; ".join(", ".join(names) for names in metric.dimension_sets)
                yield f"| {metric.name} | {metric.unit} | {dimensions} | {metric.meaning} |"
        yield ""


def _prometheus() -> Iterator[str]:
    yield "| metric | type | labels | |\n|---|---|---|---|"
    for family in FAMILIES:
        yield f"| `{family.name}` | {family.kind} | {', '.join(family.labels)} | {family.meaning} |"
    bounds = ", ".join(f"{bound_s:g}" for bound_s in BOUNDS_S)
    yield f"\nBounds of the histogram, in seconds: {bounds}.\n"


def main() -> None:
    """Write the page into the repository that is the working directory."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
