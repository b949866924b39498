"""How often a model will be asked for, from how often it was.

Each model has several opinions of its own rate: what it was over seconds, over minutes, over hours. Which of them to
believe is learned from how well each has foreseen what then came, and what did not come. So a steady model is judged by
all that is known of it, and one that becomes hot, or falls silent, is so within moments.
"""

from __future__ import annotations

from math import exp, log
from typing import Protocol

MEMORIES_S = (20.0, 200.0, 2000.0, 20000.0)  # time constants of the opinions
SWITCH = 0.02  # of the belief, spread anew with every report: no opinion is ever written off
PRIOR_REQUESTS = 2.0  # what is put in for a model before anything is seen of it, at the usual rate
USUAL_SHARE = 0.3  # of the mean rate: most models are asked for less than the mean
LEAST_SEEN_S = 60.0  # what the first requests are spread over
REMEMBERED = 65_536  # models

_RANGE = tuple(range(len(MEMORIES_S)))
_LEAST = 1e-12


class Use:
    """One model's requests: their number under each memory, and the belief in it. Known from `since_s` on."""

    __slots__ = ("at_s", "beliefs", "counts", "rates", "unseen", "usual")

    def __init__(self, since_s: float, usual: float) -> None:
        self.at_s = since_s
        self.usual = usual
        self.counts = [0.0 for _ in _RANGE]
        self.beliefs = [1.0 / len(_RANGE) for _ in _RANGE]
        self.unseen = [1.0 for _ in _RANGE]  # the part of each memory that lies before `since_s`
        self.rates = [usual for _ in _RANGE]  # as of `at_s`

    def note(self, requests: int, now_s: float, usual: float) -> None:
        """So many more, since the last time. `usual`: requests a second of a model of which nothing is known."""
        passed_s = max(0.0, now_s - self.at_s)
        self.at_s = max(self.at_s, now_s)
        self.usual = usual
        odds = []
        for k in _RANGE:
            fade = exp(-passed_s / MEMORIES_S[k])
            foreseen = self.rates[k] * MEMORIES_S[k] * (1.0 - fade)
            odds.append(requests * log(foreseen + _LEAST) - foreseen + log(self.beliefs[k]))
            self.counts[k] = self.counts[k] * fade + requests
            self.unseen[k] *= fade
            self.rates[k] = self._rate(k, 1.0)
        self._believe(odds)

    def rate(self, now_s: float) -> float:
        """Requests a second to expect now. That none came since the last is counted, too."""
        passed_s = now_s - self.at_s
        if passed_s <= 0.0:
            return sum(belief * rate for belief, rate in zip(self.beliefs, self.rates, strict=True))
        total = expected = 0.0
        lowest = self.rates[-1]
        for k in _RANGE:
            fade = exp(-passed_s / MEMORIES_S[k])
            belief = self.beliefs[k] * exp(-self.rates[k] * MEMORIES_S[k] * (1.0 - fade))
            rate = self._rate(k, fade)
            total += belief
            expected += belief * rate
            lowest = min(lowest, rate)
        return expected / total if total > 1e-300 else lowest

    def _rate(self, k: int, fade: float) -> float:
        """By memory `k`, of which `fade` is left since `at_s`. As if it had been usual for a few requests before."""
        seen_s = MEMORIES_S[k] * (1.0 - self.unseen[k] * fade)
        return (self.counts[k] * fade + PRIOR_REQUESTS) / (seen_s + PRIOR_REQUESTS / self.usual)

    def _believe(self, odds: list[float]) -> None:
        most = max(odds)
        weights = [exp(value - most) for value in odds]
        share, keep = SWITCH / len(weights), (1.0 - SWITCH) / sum(weights)
        self.beliefs = [keep * weight + share for weight in weights]


class Foresight(Protocol):
    """Says how often a model will be asked for."""

    def note(self, model: str, requests: int, now_s: float) -> None:
        """`model` got so many requests since it was last noted."""
        ...

    def rate(self, model: str, now_s: float) -> float:
        """Requests a second to expect of it."""
        ...


class Uses:
    """The use of all models, those that are not loaded included; the longest unused are forgotten beyond a bound."""

    def __init__(self) -> None:
        self._uses: dict[str, Use] = {}
        self._since_s: float | None = None
        self._total = 0

    def note(self, model: str, requests: int, now_s: float) -> None:
        """`model` got so many requests since it was last noted."""
        if self._since_s is None:
            self._since_s = now_s
        self._total += requests
        use = self._uses.pop(model, None)
        if use is None:
            use = Use(self._since_s, self._usual(now_s))
        self._uses[model] = use
        use.note(requests, now_s, self._usual(now_s))
        if len(self._uses) > REMEMBERED:
            del self._uses[next(iter(self._uses))]

    def rate(self, model: str, now_s: float) -> float:
        """Requests a second to expect of it."""
        use = self._uses.get(model)
        return use.rate(now_s) if use is not None else self._usual(now_s)

    def _usual(self, now_s: float) -> float:
        passed_s = max(LEAST_SEEN_S, now_s - self._since_s) if self._since_s is not None else LEAST_SEEN_S
        return max(1e-9, USUAL_SHARE * self._total / passed_s / max(1, len(self._uses)))
