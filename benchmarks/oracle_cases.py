"""Loads of the oracle's benchmark: every trace of benchmarks/data, whole, as single requests that keep some 20 replicas busy.

Rates are drawn as a renewal process (Gamma, with the trace's own burstiness where it has one, else Poisson; of a larger service a part of the requests), in straight
lines between their steps; requests of a second on average, with a long tail. Traces of single requests keep their times
and sizes: a token of the prompt takes 0.2 ms, one of the answer 20 ms, and 100 ms each request. Where they are too few,
copies of each come within the gap that follows it. A trace of several days is as many parts, a day each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from benchmarks.traces import Floats, column, rows_of
from trimtab.sim.arrivals import Rates, Thinned, Times
from trimtab.sim.world import Slo, Work, Workload

BUSY = 20.0  # replicas, on average
SERVICE_S, SPREAD = 1.0, 0.6
WITHIN_S, KEPT = 8.0, 0.999
POINTS = 2001
DAY_S = 86_400.0


class Case(Struct, frozen=True):
    """Requests of some time."""

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


class Trace(Struct, frozen=True):
    """`part(n, seed)`: its n-th day, or all of a shorter one. `requests`: about so many in each."""

    name: str
    kind: str
    requests: tuple[float, ...]
    part: Callable[[int, int], Case]

    @property
    def parts(self) -> int:
        return len(self.requests)


def case_of(name: str, kind: str, times: Times, work: Work, slo: Slo | None) -> Case:
    assert times.uniform is not None
    workload = Workload(name=name, arrivals=times, work={"*": work}, slo=slo)
    return Case(name, kind, workload, times.at_s, work.service_s(times.uniform), times.start_s, times.end_s)


@lru_cache(maxsize=1)
def lognormal() -> Work:
    """A second on average; the slowest of a thousand takes five times as long."""
    parts = (np.arange(POINTS) + 0.5) / POINTS
    normal = np.array([NormalDist().inv_cdf(part) for part in parts])
    points = np.exp(SPREAD * normal)
    return Work(quantiles_s=tuple((points / points.mean() * SERVICE_S).tolist()))


def thinned(cv: Floats, part: float) -> Floats:
    """Of the gaps between so many of a stream's requests, taken by chance: variance beyond Poisson's falls with the part."""
    return np.sqrt(np.maximum(1 + part * (cv**2 - 1), 0.01))


def by_rate(name: str, *, bursts: bool = False, smooth: int = 0) -> Trace:
    rate, step_s = column(name)
    burst = column(name, "rate_weighted_cv")[0] if bursts else None
    if smooth:  # a second's own count is chance: it must not be scaled up, too
        rate = np.convolve(np.pad(rate, smooth // 2, mode="edge"), np.ones(smooth) / smooth, "valid")[: len(rate)]
    taken = BUSY / SERVICE_S / float(rate.mean())
    cv = 1.0 if burst is None else thinned(np.maximum(burst, 0.1), min(taken, 1.0))
    rates = Rates(rate=rate * taken, step_s=step_s, cv=cv)
    rates = rates.smooth(10.0) if step_s > 10 else rates
    a_day = round(DAY_S / rates.step_s)
    edges = [*range(0, len(rates.rate) - a_day // 2, a_day)]
    ends = [*edges[1:], len(rates.rate)]
    kind = f"rates, {step_s:g} s"

    def part(number: int, seed: int) -> Case:
        first, last = edges[number], ends[number]
        own = Rates(
            rate=rates.rate[first:last],
            step_s=rates.step_s,
            start_s=first * rates.step_s,
            cv=np.asarray(rates.cv)[first:last] if np.ndim(rates.cv) else rates.cv,
        )
        chunks = list(own.chunks(seed * 1000 + number))
        at_s, uniform = np.concatenate([c.at_s for c in chunks]), np.concatenate([c.uniform for c in chunks])
        times = Times(at_s=np.minimum(at_s, own.end_s), start_s=own.start_s, end_s=own.end_s, uniform=uniform)
        return case_of(name, kind, times, lognormal(), Slo(within_s=WITHIN_S, kept=KEPT))

    requests = (float(rates.rate[a:b].sum() * rates.step_s) for a, b in zip(edges, ends, strict=True))
    return Trace(name, kind, tuple(requests), part)


def by_request(name: str, file: str, fields: tuple[str, ...], service: Callable[..., Floats]) -> Trace:
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
    kind = f"requests x {factor:.1f}"
    within_s = float(np.ceil(np.quantile(service_s, 0.9999) + 3.0))

    def part(_number: int, seed: int) -> Case:
        chunks = list(Thinned(arrivals=times, factor=factor).chunks(seed))
        many = Times(
            at_s=np.concatenate([c.at_s for c in chunks]),
            start_s=0.0,
            end_s=end_s,
            uniform=np.concatenate([c.uniform for c in chunks]),
        )
        return case_of(name, kind, many, Work(quantiles_s=tuple(points.tolist())), Slo(within_s=within_s, kept=KEPT))

    return Trace(name, kind, (len(at_s) * factor,), part)


def by_tokens(prompt: Floats, answer: Floats) -> Floats:
    return 0.1 + 0.0002 * prompt + 0.02 * answer


_TOKENS = ("context_tokens", "generated_tokens")
TRACES: dict[str, Callable[[], Trace]] = {
    "azure-conv": partial(by_request, "azure-conv", "azure_llm_2023_conv.csv.gz", ("t_s", *_TOKENS), by_tokens),
    "azure-code": partial(by_request, "azure-code", "azure_llm_2023_code.csv.gz", ("t_s", *_TOKENS), by_tokens),
    "mooncake": partial(
        by_request, "mooncake", "mooncake_conversation.csv.gz", ("t_ms", "input_tokens", "output_tokens"), by_tokens
    ),
    "azure-functions": partial(
        by_request,
        "azure-functions",
        "azure_functions_2021_sample200.csv",
        ("start_s", "duration_s"),
        lambda s: np.maximum(s, 0.01),
    ),
    "deepseek-r1": partial(by_rate, "deepseek-r1", bursts=True),
    "mm-image": partial(by_rate, "mm-image", bursts=True),
    "nasa-day": partial(by_rate, "nasa-day", smooth=601),
    "nasa-weekend": partial(by_rate, "nasa-weekend", smooth=11),
    "m-large": partial(by_rate, "m-large", bursts=True),
    "m-mid": partial(by_rate, "m-mid", bursts=True),
    "aws-elb": partial(by_rate, "aws-elb"),
    "twitter-amzn": partial(by_rate, "twitter-amzn"),
    "twitter-goog": partial(by_rate, "twitter-goog"),
    "nasa-months": partial(by_rate, "nasa-minutes", smooth=11),
    "taxi": partial(by_rate, "taxi"),
}
