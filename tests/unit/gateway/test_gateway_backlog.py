"""Reports that wait for control: in order, merged by the minute, bounded, and nothing lost within the bound."""

from hypothesis import given
from hypothesis import strategies as st

from trimtab.gateway.backlog import IN_A_REPORT, MERGED_MOST, MINUTES_KEPT, SECONDS_KEPT_S, SECONDS_MOST, Backlog
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


def test_it_is_bounded_in_time() -> None:
    backlog = Backlog()
    for minute in range(2 * MINUTES_KEPT):
        backlog.add(a_report(NOW_S + 60 * minute))
    assert len(backlog) <= MINUTES_KEPT + 3


def in_parts(second: int, variants: int) -> list[Report]:
    whole = a_report(NOW_S + second, variants=variants).variants
    return [
        Report(number=0, start_s=NOW_S + second, variants=whole[first : first + IN_A_REPORT])
        for first in range(0, variants, IN_A_REPORT)
    ]


def test_with_many_busy_variants_time_becomes_coarser_and_no_request_is_forgotten() -> None:
    backlog, variants = Backlog(), 4000
    for second in range(0, 600, 20):
        for part in in_parts(second, variants):
            backlog.add(part)
    assert len(backlog) <= SECONDS_MOST + MERGED_MOST // 2
    reports = taken(backlog)
    assert sum(variant.received for report in reports for variant in report.variants) == variants * 30
    assert max(len(report.variants) for report in reports) <= IN_A_REPORT
    assert reports[0].start_s == NOW_S
    assert reports[-1].start_s == NOW_S + 580
    assert len(backlog) == 0


def test_a_control_that_takes_a_part_only_gets_all_of_it_in_fewer_reports() -> None:
    backlog, variants, got = Backlog(), 3000, 0
    for second in range(100):
        for part in in_parts(second, variants):
            backlog.add(part)
        for _ in range(variants // IN_A_REPORT // 3):  # a third of what comes
            report = backlog.take()
            assert report is not None
            got += sum(variant.received for variant in report.variants)
        assert len(backlog) <= SECONDS_MOST + MERGED_MOST // 2
    got += sum(variant.received for report in taken(backlog) for variant in report.variants)
    assert got == variants * 100


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "lose the link"]), st.integers(0, 200)), max_size=40))
def test_whatever_comes_and_goes_every_request_waits_once_or_was_received(steps: list[tuple[str, int]]) -> None:
    backlog, now_s, came, received = Backlog(), NOW_S, 0, 0
    sent: list[Report] = []
    for step, number in steps:
        if step == "add":
            now_s += number
            backlog.add(a_report(now_s, received=number, variants=3))
            came += 3 * number
        elif step == "take" and (report := backlog.take()) is not None:
            sent.append(report)
        elif step == "lose the link":
            acknowledged = min(number % 4, len(sent))
            received += sum(v.received for report in sent[:acknowledged] for v in report.variants)
            for report in reversed(sent[acknowledged:]):
                backlog.put_back(report)
            sent.clear()
    waiting = taken(backlog)
    assert all(report.span_s >= 1 for report in waiting)
    assert received + sum(v.received for report in (*sent, *waiting) for v in report.variants) == came


def test_variants_of_two_gateways_at_one_time_add_up_in_their_gauges_too() -> None:
    one, other = a_report(NOW_S).variants[0], a_report(NOW_S).variants[0]
    merge_variants(one, other, at_once=True)
    assert (one.in_hand.least, one.in_hand.most, one.busy_s) == (2, 4, {"r": 1.0})
