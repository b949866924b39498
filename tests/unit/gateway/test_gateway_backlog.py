"""Reports that wait for control: in order, merged by the minute, bounded, and nothing lost within the bound."""

from trimtab.gateway.backlog import MINUTES_KEPT, MOST, SECONDS_KEPT_S, Backlog
from trimtab.wire.merging import merge_variants
from trimtab.wire.reports import Range, Report, Tally, VariantReport, VersionReport

NOW_S = 1_700_000_040


def a_report(start_s: int, received: int = 1, variants: int = 1) -> Report:
    version = VersionReport(
        version="c", ended=received, errors={"Broken": 1}, latency=Tally(received, 5.0, 1.0, 4.0, {3: received})
    )
    of = [
        VariantReport(
            endpoint=f"e{n}", variant="v", received=received, in_hand=Range(1, 2), busy_s={"r": 0.5}, versions=[version]
        )
        for n in range(variants)
    ]
    return Report(number=0, start_s=start_s, variants=of)


def taken(backlog: Backlog) -> list[Report]:
    reports = []
    while (report := backlog.take()) is not None:
        reports.append(report)
    return reports


def test_what_was_added_is_taken_oldest_first() -> None:
    backlog = Backlog()
    for second in range(5):
        backlog.add(a_report(NOW_S + second))
    assert [report.start_s - NOW_S for report in taken(backlog)] == [0, 1, 2, 3, 4]
    assert len(backlog) == 0


def test_what_was_put_back_comes_first() -> None:
    backlog = Backlog()
    for second in range(3):
        backlog.add(a_report(NOW_S + second))
    first, second = backlog.take(), backlog.take()
    assert first is not None
    assert second is not None
    backlog.put_back(second)
    backlog.put_back(first)
    assert [report.start_s - NOW_S for report in taken(backlog)] == [0, 1, 2]


def test_after_two_minutes_seconds_become_minutes_and_nothing_is_lost() -> None:
    backlog = Backlog()
    for second in range(1000):
        backlog.add(a_report(NOW_S + second, received=2))
    assert len(backlog) <= SECONDS_KEPT_S + 1000 // 60 + 2
    reports = taken(backlog)
    assert sum(variant.received for report in reports for variant in report.variants) == 2000
    assert sum(version.latency.count for r in reports for v in r.variants for version in v.versions) == 2000
    assert [report.start_s for report in reports] == sorted(report.start_s for report in reports)
    assert reports[1].span_s == 60
    assert reports[-1].span_s == 1


def test_it_is_bounded_in_time_and_size() -> None:
    backlog = Backlog()
    for minute in range(2 * MINUTES_KEPT):
        backlog.add(a_report(NOW_S + 60 * minute))
    assert len(backlog) <= MINUTES_KEPT + 3
    big = Backlog()
    for second in range(400):
        big.add(a_report(NOW_S + 60 * second, variants=100))
    assert big._size <= MOST
    assert sum(len(report.variants) for report in taken(big)) <= MOST
    assert big._size == 0


def test_variants_of_two_gateways_at_one_time_add_up_in_their_gauges_too() -> None:
    one, other = a_report(NOW_S).variants[0], a_report(NOW_S).variants[0]
    merge_variants(one, other, at_once=True)
    assert (one.in_hand.least, one.in_hand.most, one.busy_s) == (2, 4, {"r": 1.0})
