"""Charges of one replica: however often it is charged, they sum to what its life costs."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from trimtab.policies.costs.account import Account, Charge, Shares, Work
from trimtab.policies.costs.cells import Cell, CellKey, add_charge
from trimtab.policies.costs.split import Stage, split
from trimtab.policies.costs.steady import SteadyTime
from trimtab.resources.cost import Part, divided_among, micro_usd, spread

RATE = (1408, 1000)
TIMES = st.integers(0, 10**9)


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """One with work, and with a life of any shape."""
    marks = sorted(draw(st.lists(TIMES, min_size=3, max_size=3)))
    made = Account("v1", "ml.g5.xlarge", RATE, 0, 0, lanes=draw(st.integers(1, 3)))
    made.ready_us, made.replaced_us, made.end_us = (at if draw(st.booleans()) else None for at in marks)
    for start_us in draw(st.lists(TIMES, max_size=5)):
        busy_us = draw(st.integers(0, 2 * 10**6))
        made.worked(Work(start_us, start_us + draw(st.integers(1, 3 * 10**6)), busy_us, draw(st.integers(0, busy_us))))
    return made


@given(accounts(), st.lists(TIMES, max_size=8), TIMES)
def test_charges_sum_to_the_bill_in_however_many_steps(account: Account, steps: list[int], to_us: int) -> None:
    at_once = deepcopy(account)
    stepped = [charge for at in (*sorted(at for at in steps if at < to_us), to_us) for charge in account.charge(at)]
    whole = list(at_once.charge(to_us))
    lived_us = to_us if account.end_us is None else min(to_us, account.end_us)
    bill = micro_usd(Fraction(*RATE), Fraction(lived_us, 10**6))
    for charges in (stepped, whole):
        assert sum(charge.micro_usd for charge in charges) == bill
        assert sum(charge.end_us - charge.start_us for charge in charges) == lived_us


@given(accounts(), TIMES, st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**12)), st.integers(-(10**9), 10**9))
def test_what_cells_get_is_what_was_charged(account: Account, to_us: int, models: dict[str, int], shift: int) -> None:
    account.rate = RATE
    for charge in account.charge(to_us, Shares(models, models)):
        together, cells = Cell(), dict[CellKey, Cell]()
        add_charge(cells, charge, "fraud", "main", shift)
        for cell in cells.values():
            together.add(cell)
        assert together.micro_usd == charge.micro_usd
        assert together.replica_us == charge.end_us - charge.start_us


@given(
    st.sampled_from(Stage), st.integers(0, 10**9), st.integers(0, 2 * 10**9), st.integers(0, 10**9),
    st.integers(0, 10**9), st.integers(0, 10**9), st.booleans(),
)  # fmt: skip
def test_parts_of_a_stretch_sum_to_it(
    stage: Stage, span: int, busy: int, wasted: int, reload: int, load: int, idle: bool
) -> None:
    parts = split(stage, span, busy_us=busy, wasted_us=wasted, reload_us=reload, load_us=load, is_idle=idle)
    assert sum(parts.values()) == span
    assert all(us > 0 for us in parts.values())


@given(
    st.integers(0, 10**12),
    st.dictionaries(st.text(max_size=3), st.integers(0, 10**15) | st.floats(0, 1e6), max_size=20),
)
def test_what_is_divided_sums_to_the_whole(total: int, weights: dict[str, float]) -> None:
    parts = divided_among(total, weights, rest="nobody")
    assert sum(parts.values()) == total
    whole = sum(Fraction(weight) for weight in weights.values())
    for key, weight in weights.items():
        assert not whole or abs(parts.get(key, 0) - Fraction(weight) * total / whole) < 1


@given(st.integers(0, 40), st.lists(st.integers(0, 10**9), min_size=1, max_size=30), st.integers(0, 10**9))
def test_what_is_spread_over_many_small_pieces_comes_to_each_ones_share(
    total: int, weights: list[int], turn: int
) -> None:
    by_key = dict(enumerate(weights))
    got: Counter[int] = Counter()
    for number in range(200):
        piece = spread(total, by_key, rest=-1, turn=turn + number)
        assert sum(piece.values()) == total
        got.update(piece)
    for key, weight in by_key.items():
        if sum(weights):
            assert abs(got[key] - 200 * total * weight / sum(weights)) <= 6


@given(st.integers(1, 5), st.integers(0, 10**9))
def test_models_of_a_part_that_is_small_get_their_shares_of_it_all_the_same(spent: int, turn: int) -> None:
    cells: dict[CellKey, Cell] = {}
    parts, models = {Part.SERVING: 7, Part.HEADROOM: 93}, {"a": 3, "b": 1}
    for number in range(3000):
        charge = Charge(
            version="v1",
            instance_type="ml.g5.xlarge",
            start_us=number * 10**6,
            end_us=(number + 1) * 10**6,
            micro_usd=spent,
            is_priced=True,
            turn=turn + number,
            parts=parts,
            models={Part.SERVING: models},
        )
        add_charge(cells, charge, "fraud", "main", 0)
    serving = {key.model: cell.parts["serving"] for key, cell in cells.items() if "serving" in cell.parts}
    assert abs(sum(serving.values()) - 3000 * spent * 0.07) < 6
    assert 0.55 < serving["a"] / sum(serving.values()) < 0.95  # 0.75 of some hundred; not all, and not none


def test_work_is_thrown_away_only_where_there_was_work() -> None:
    parts = split(Stage.READY, 100, busy_us=40, wasted_us=90)
    assert parts == {Part.RETRIES: 40, Part.HEADROOM: 60}


def test_steady_time_goes_on_over_a_restart_of_the_process() -> None:
    first = SteadyTime(None, wall_us=1_000, monotonic_us=50, boot="one")
    mark = first.mark(80)
    assert mark.steady_us == 1_030
    second = SteadyTime(mark, wall_us=999_999, monotonic_us=100, boot="one")
    assert second.at(110) == 1_060


def test_steady_time_never_goes_back_over_a_restart_of_the_machine() -> None:
    mark = SteadyTime(None, wall_us=1_000, monotonic_us=50, boot="one").mark(80)
    assert SteadyTime(mark, wall_us=10, monotonic_us=5, boot="two").at(5) == 1_030
    assert SteadyTime(mark, wall_us=5_000, monotonic_us=5, boot="two").at(5) == 5_000
