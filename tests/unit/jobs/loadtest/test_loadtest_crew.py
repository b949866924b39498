"""A crew of processes: together they send what was planned, and they go when they are told."""

from __future__ import annotations

import asyncio

import psutil
import pytest
from loadtest_server import OK, Plain, evenly, serving

from trimtab.errors import Broken, Unavailable
from trimtab.jobs.loadtest.crew import Crew, Run
from trimtab.jobs.loadtest.find_max import LOST, FindMax
from trimtab.jobs.loadtest.search import Search
from trimtab.jobs.loadtest.slo import Slo


async def crewed(plan, port, watch=None, *, processes=1) -> Run:
    def run() -> Run:
        with Crew(processes) as crew:
            return crew.run(plan, Plain(port), watch) if watch else crew.run(plan, Plain(port))

    return await asyncio.to_thread(run)


async def test_several_processes_share_a_plan() -> None:
    async with serving() as server:
        run = await crewed(evenly(300, 0.5, processes=2, warm_up_s=0.1, warm_up_rate=100), server.port, processes=2)
    assert (run.tally.due, run.tally.answered, run.stopped) == (150, 150, "")
    assert server.requests == 160
    assert run.elapsed_s == 0.5


async def test_a_watch_sees_the_counts_grow_and_may_stop_the_test() -> None:
    seen: list[int] = []

    def watch(tally, elapsed_s) -> str:
        seen.append(tally.answered)
        return "enough" if tally.answered >= 20 else ""

    async with serving() as server:
        run = await crewed(evenly(100, 60), server.port, watch)
    assert run.stopped == "enough"
    assert seen == sorted(seen)
    assert 0 < run.elapsed_s < 30


async def test_one_crew_runs_plan_after_plan_and_none_of_its_processes_stays() -> None:
    async with serving() as server:

        def run() -> list[int]:
            with Crew(1) as crew:
                pids.extend(process.pid for process in crew._children)
                return [crew.run(evenly(100, 0.1), Plain(server.port)).tally.answered for _ in range(3)]

        pids: list[int] = []
        assert await asyncio.to_thread(run) == [10, 10, 10]
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_what_hinders_the_start_is_told() -> None:
    async with serving() as server:
        port = server.port
    with pytest.raises(Unavailable, match="Connection refused"):
        await crewed(evenly(1, 1), port)


async def test_a_process_that_dies_breaks_the_test() -> None:
    async with serving() as server:

        def run() -> None:
            with Crew(1) as crew:

                def watch(tally, elapsed_s) -> str:
                    if tally.answered:
                        crew._children[0].kill()
                    return ""

                crew.run(evenly(100, 60), Plain(server.port), watch)

        with pytest.raises(Broken, match="has ended"):
            await asyncio.to_thread(run)


async def test_find_max_finds_the_rate_of_a_server_that_takes_one_request_at_a_time() -> None:
    lock = asyncio.Lock()

    async def answer(_body: bytes) -> bytes:
        async with lock:
            await asyncio.sleep(0.01)  # at most 100 a second
        return OK

    async with serving(answer) as server:
        find = FindMax(
            search=Search(first=20, precision=0.5, most_trials=12),
            slo=Slo("p50", 0.25),
            base=evenly(20, 0.4),
            trial_s=0.4,
            budget_s=60,
        )

        def run():
            with Crew(1) as crew:
                return find.run(
                    crew, Plain(server.port), on_next=lambda *_: None, on_tried=tried.append, watch=lambda *_: ""
                )

        tried: list = []
        best = await asyncio.to_thread(run)
    assert 20 <= best.found.rate <= 150
    assert best.outcome is not None
    assert best.outcome.tally.answered > 0
    assert [t.trial for t in best.tried] == [t.trial for t in tried]
    assert any(t.outcome.run.stopped == LOST for t in tried) or all(t.outcome.run.stopped == "" for t in tried)


async def test_a_search_ends_with_what_it_has_when_its_time_or_its_requests_are_used_up() -> None:
    async with serving() as server:

        def run(**more):
            find = FindMax(
                search=Search(first=20), slo=Slo("p99", 5.0), base=evenly(20, 0.2, max_requests=more.pop("requests", 10**6)),
                trial_s=0.2, budget_s=more.pop("budget_s", 60),
            )  # fmt: skip
            with Crew(1) as crew:
                return find.run(
                    crew, Plain(server.port), on_next=lambda *_: None, on_tried=lambda _: None, watch=lambda *_: ""
                )

        short = await asyncio.to_thread(run, budget_s=0.01)
        assert (short.found.rate, short.tried, short.outcome) == (0, [], None)
        assert "time for the search" in short.found.why
        few = await asyncio.to_thread(run, requests=250)
        assert few.found.rate == 20
        assert not few.found.confirmed
        assert "--max-requests 250" in few.found.why
