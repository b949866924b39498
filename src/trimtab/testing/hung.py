"""Hooks by which a test that hangs ends, asynchronous or not, and so does what is cleared away after it.

pytest-timeout's signal raises an exception wherever the main thread is. In a callback or a task of an event loop that
would be kept there, and the test would go on for ever: loops let through nothing but KeyboardInterrupt and SystemExit.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from typing import Any

import pytest


class Hung(SystemExit):
    """Over its time."""


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(settings: Any) -> bool:
    """pytest-timeout's hook: a test begins that may take `settings.timeout` seconds."""
    _no_longer_than(settings.timeout)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_cancel_timer() -> bool:
    """pytest-timeout's hook: it has ended, or failed."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    return True


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """What is cleared away has a limit of its own: after a failure there is no other."""
    _no_longer_than(float(item.config.getini("timeout")))
    return (yield)


def _no_longer_than(limit_s: float) -> None:
    def hung(_number: int, _frame: object) -> None:
        if (loop := asyncio._get_running_loop()) is not None:
            for task in asyncio.all_tasks(loop):
                task.print_stack()
        raise Hung(f"not over within {limit_s:g} s")

    signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
