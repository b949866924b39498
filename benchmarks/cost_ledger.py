"""The cost ledger: whether parts sum to the bill over random histories with crashes, and what it costs itself.

    python benchmarks/cost_ledger.py [--histories 300] [--steps 200] [--seed 1]

histories: replicas are born, become ready, work and end; control is killed and comes back; the wall clock jumps. In the
end the sum of all parts is compared with what the lives of the replicas cost at their price, and the seconds charged
with the seconds lived. Ends are seen by control here, and written (one that is not is charged until control was last
there: tests/unit/control/costs has those).

cost: CPU time of a second of charging, by the number of replicas and of models in each.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from trimtab.control.costs.ledger import CONNECT_S, LAG_S
from trimtab.resources.cost import micro_usd
from trimtab.resources.replica import ReplicaState
from trimtab.testing.costs import LARGE, LedgerWorld
from trimtab.wire.hosting import Holding, ModelState, Resident
from trimtab.wire.reports import ModelsReport, VersionReport

SPANS_S = (1 / 64, 0.6875, 1.0, 1.0, 1.0, 5.0, 59.0, 61.0, 301.0, 3600.0, 40_000.0)


class History:
    """One of them. Times of lives are microseconds of the clock that never jumps; all are whole, and exact in floats."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = LedgerWorld()
        self.lives: dict[str, list[int | None]] = {}
        self.crashes = 0

    @property
    def now_us(self) -> int:
        return int(self.world.clock.monotonic_s() * 1e6)

    def keep(self) -> None:
        """All of it is charged as far as can be, and on the disk."""
        self.world.ledger.tick()
        self.world.store.commit()

    def step(self) -> None:
        """Anything may happen."""
        living = [replica for replica, (_, ended) in self.lives.items() if ended is None]
        one = self.random.choice(living) if living else ""
        match self.random.randrange(8):
            case 0:
                self.lives[self.world.start()] = [self.now_us, None]
            case 1 if one:
                self.world.becomes(one, ReplicaState.READY)
            case 2 if one:
                self.world.ends(one)
                self.lives[one][1] = self.now_us
                self.keep()
            case 3 if one:
                self.world.answered(self.random.randrange(50), busy_s={one: self.random.uniform(0.0, 1.5)})
            case 4:
                self.crashes += 1
                self.world.crash(away_s=self.random.choice(SPANS_S))
                self.keep()
            case 5:
                self.keep()
                jump_s = self.random.choice((-86_400.0, -3.0, 3.0, 86_400.0))
                self.world.clock.set_wall(self.world.clock.now_s() + jump_s)
            case _:
                self.world.clock.advance(self.random.choice(SPANS_S))
                self.world.ledger.tick()

    def end(self) -> tuple[int, int, int, int]:
        """Micro-dollars of all parts, of the lives, and the same of microseconds."""
        for replica, life in self.lives.items():
            if life[1] is None:
                self.world.ends(replica)
                life[1] = self.now_us
        self.world.clock.advance(CONNECT_S + LAG_S + 2)
        self.world.settle()
        cells = self.world.cells().values()
        lived = [ended - born for born, ended in self.lives.values() if ended is not None and born is not None]
        bill = sum(micro_usd(self.world.prices.hourly[LARGE], Fraction(us, 1_000_000)) for us in lived)
        parts = sum(amount for cell in cells for amount in cell.parts.values())
        return parts, bill, sum(cell.replica_us for cell in cells), sum(lived)


def histories(count: int, steps: int, seed: int) -> bool:
    """Run them; whether there was no error."""
    parts = bill = charged_us = lived_us = replicas = crashes = wrong = 0
    for number in range(count):
        history = History(seed + number)
        for _ in range(steps):
            history.step()
        found = history.end()
        wrong += found[0] != found[1] or found[2] != found[3]
        parts, bill, charged_us, lived_us = (
            a + b for a, b in zip((parts, bill, charged_us, lived_us), found, strict=True)
        )
        replicas += len(history.lives)
        crashes += history.crashes
    print(f"{count} histories, {replicas} replicas, {crashes} crashes, {lived_us / 3.6e9:,.0f} replica-hours")
    print(f"bill ${bill / 1e6:,.6f}   sum of parts ${parts / 1e6:,.6f}   histories with an error: {wrong}")
    print(f"seconds charged - seconds lived: {(charged_us - lived_us) / 1e6:.6f} of {lived_us / 1e6:,.0f}")
    return not wrong


def cpu_ms(replicas: int, models: int, *, busy: bool, seconds: int = 60) -> float:
    """CPU time of charging a second."""
    world = LedgerWorld()
    ids = [world.ready() for _ in range(replicas)]
    names = [f"customer-{number}.tar.gz" for number in range(models)]
    residents = tuple(Resident(model=n, version="1", state=ModelState.READY, bytes=1000 + len(n)) for n in names)
    for replica in ids if models else ():
        world.ledger.holds(replica, Holding(residents=residents, memory_bytes=10**7, used_bytes=9 * 10**6))
    world.passes(30)
    began_s = time.process_time()
    for _ in range(seconds):
        if busy:
            of_models = ModelsReport(models=dict.fromkeys(names, (1, 0)), busy_s=dict.fromkeys(names, 0.001))
            world.reports(
                dict.fromkeys(ids, 0.3),
                versions=[VersionReport(version="v1", ended=100)],
                models=of_models if models else None,
            )
        world.passes(1)
    return (time.process_time() - began_s) / seconds * 1000


def main() -> int:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=300)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    good = histories(asked.histories, asked.steps, asked.seed)
    print("\nreplicas  models each  requests  CPU ms a second")
    for replicas, models, busy in ((1, 0, True), (100, 0, False), (100, 0, True), (1, 1000, True), (10, 1000, True)):
        took_ms = cpu_ms(replicas, models, busy=busy)
        print(f"{replicas:8}  {models or 1:11}  {'yes' if busy else 'no':>8}  {took_ms:15.2f}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
