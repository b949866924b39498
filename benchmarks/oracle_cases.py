"""Loads of the oracle's benchmark: every trace of benchmarks/data, as single requests that keep some 20 replicas busy.

Rates are drawn as a renewal process (Gamma, with the trace's own burstiness where it has one, else Poisson; of a larger service a part of the requests), in straight
lines between their steps; requests of a second on average, with a long tail. Traces of single requests keep their times
and sizes: a token of the prompt takes 0.2 ms, one of the answer 20 ms, and 100 ms each request. Where they are too few,
copies of each come within the gap that follows it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from msgspec import Struct

from benchmarks.traces import Floats, column, rows_of
from trimtab.sim.arrivals import Rates, Thinned, Times
from trimtab.sim.world import Slo, Work, Workload

BUSY = 20.0  # replicas, on average
SERVICE_S, SPREAD = 1.0, 0.6
KEPT = 0.999
POINTS = 2001
DAY_S = 86_400.0


class Case(Struct, frozen=True):
    name: str
    kind: str
    workload: Workload
    at_s: Floats
    service_s: Floats
    start_s: float
    end_s: float

    def part(self, begin_s: float, end_s: float) -> Case:
        """The same from one moment to another."""
        inside = (self.at_s >= begin_s) & (self.at_s < end_s)
        arrivals = self.workload.arrivals
        assert isinstance(arrivals, Times)
        assert arrivals.uniform is not None
        times = Times(at_s=self.at_s[inside], start_s=begin_s, end_s=end_s, uniform=arrivals.uniform[inside])
        return case_of(self.name, self.kind, times, self.workload.work["*"], self.workload.slo)


def case_of(name: str, kind: str, times: Times, work: Work, slo: Slo | None) -> Case:
    assert times.uniform is not None
    workload = Workload(name=name, arrivals=times, work={"*": work}, slo=slo)
    return Case(name, kind, workload, times.at_s, work.service_s(times.uniform), times.start_s, times.end_s)


def lognormal() -> Work:
    """A second on average; the slowest of a thousand takes five times as long."""
    from statistics import NormalDist

    parts = (np.arange(POINTS) + 0.5) / POINTS
    normal = np.array([NormalDist().inv_cdf(part) for part in parts])
    points = np.exp(SPREAD * normal)
    return Work(quantiles_s=tuple((points / points.mean() * SERVICE_S).tolist()))


def thinned(cv: Floats, part: float) -> Floats:
    """Of the gaps between so many of a stream's requests, taken by chance: variance beyond Poisson's falls with the part."""
    return np.sqrt(np.maximum(1 + part * (cv**2 - 1), 0.01))


def by_rate(
    name: str, seed: int, days: float, first_day: float = 0.0, *, bursts: bool = False, smooth: int = 0
) -> Case:
    rate, step_s = column(name)
    burst = column(name, "rate_weighted_cv")[0] if bursts else None
    first, last = round(first_day * DAY_S / step_s), round((first_day + days) * DAY_S / step_s)
    rate = rate[first:last]
    if smooth:  # a second's own count is chance: it must not be scaled up, too
        rate = np.convolve(np.pad(rate, smooth // 2, mode="edge"), np.ones(smooth) / smooth, "valid")[: len(rate)]
    taken = BUSY / SERVICE_S / float(rate.mean())
    cv = 1.0 if burst is None else thinned(np.maximum(burst[first:last], 0.1), min(taken, 1.0))
    rates = Rates(rate=rate * taken, step_s=step_s, cv=cv)
    chunks = list((rates.smooth(10.0) if step_s > 10 else rates).chunks(seed))
    at_s, uniform = np.concatenate([c.at_s for c in chunks]), np.concatenate([c.uniform for c in chunks])
    times = Times(at_s=at_s, start_s=rates.start_s, end_s=rates.end_s, uniform=uniform)
    return case_of(name, f"rates, {step_s:g} s", times, lognormal(), Slo(within_s=8.0, kept=KEPT))


def by_request(name: str, seed: int, file: str, fields: tuple[str, ...], service: Callable[..., Floats]) -> Case:
    rows = rows_of(file)
    columns = [np.array([float(row[field]) for row in rows]) for field in fields]
    order = np.argsort(columns[0], kind="stable")
    at_s, service_s = columns[0][order], service(*(one[order] for one in columns[1:]))
    if fields[0] == "t_ms":
        at_s = at_s / 1000
    end_s = float(np.ceil(at_s[-1] / 60) * 60)
    points = np.quantile(service_s, np.linspace(0, 1, POINTS))
    ranks = np.argsort(np.argsort(service_s, kind="stable"), kind="stable") / max(len(service_s) - 1, 1)
    times = Times(at_s=at_s, start_s=0.0, end_s=end_s, uniform=np.minimum(ranks, 1 - 1e-9))
    factor = max(1.0, BUSY * end_s / float(service_s.sum()))
    chunks = list(Thinned(arrivals=times, factor=factor).chunks(seed))
    many = Times(
        at_s=np.concatenate([c.at_s for c in chunks]),
        start_s=0.0,
        end_s=end_s,
        uniform=np.concatenate([c.uniform for c in chunks]),
    )
    within_s = float(np.ceil(np.quantile(service_s, 0.9999) + 3.0))
    return case_of(
        name,
        f"requests x {factor:.1f}",
        many,
        Work(quantiles_s=tuple(points.tolist())),
        Slo(within_s=within_s, kept=KEPT),
    )


def by_tokens(prompt: Floats, answer: Floats) -> Floats:
    return 0.1 + 0.0002 * prompt + 0.02 * answer


CASES: dict[str, Callable[[int], Case]] = {
    "azure-conv": lambda seed: by_request(
        "azure-conv", seed, "azure_llm_2023_conv.csv.gz", ("t_s", "context_tokens", "generated_tokens"), by_tokens
    ),
    "azure-code": lambda seed: by_request(
        "azure-code", seed, "azure_llm_2023_code.csv.gz", ("t_s", "context_tokens", "generated_tokens"), by_tokens
    ),
    "mooncake": lambda seed: by_request(
        "mooncake", seed, "mooncake_conversation.csv.gz", ("t_ms", "input_tokens", "output_tokens"), by_tokens
    ),
    "azure-functions": lambda seed: by_request(
        "azure-functions",
        seed,
        "azure_functions_2021_sample200.csv",
        ("start_s", "duration_s"),
        lambda s: np.maximum(s, 0.01),
    ),
    "m-large": partial(by_rate, "m-large", days=1.0, first_day=10.0, bursts=True),
    "m-mid": partial(by_rate, "m-mid", days=1.0, first_day=9.0, bursts=True),
    "deepseek-r1": partial(by_rate, "deepseek-r1", days=1.0, bursts=True),
    "mm-image": partial(by_rate, "mm-image", days=1.0, bursts=True),
    "nasa-day": partial(by_rate, "nasa-day", days=1.0, smooth=601),
    "nasa-weekend": partial(by_rate, "nasa-weekend", days=1.0, first_day=3.0, smooth=11),
    "aws-elb": partial(by_rate, "aws-elb", days=1.0, first_day=12.0),
    "taxi": partial(by_rate, "taxi", days=1.0, first_day=2.0),
    "twitter-amzn": partial(by_rate, "twitter-amzn", days=1.0, first_day=6.0),
    "twitter-goog": partial(by_rate, "twitter-goog", days=1.0, first_day=15.0),
}
