"""A test that hangs ends, and the next one has its turn."""

import subprocess
import sys
from pathlib import Path

BOTH_LOOPS = """
import asyncio
import uvloop

def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
"""
TESTS = """
import asyncio, threading
import pytest

async def ticks():
    loop = asyncio.get_running_loop()
    def tick():
        loop.call_later(0.001, tick)
    tick()
    await asyncio.Event().wait()

async def test_in_callbacks():
    await ticks()

def test_in_a_lock():
    threading.Event().wait()

@pytest.fixture
async def left():
    yield
    await ticks()

async def test_while_it_is_cleared_away(left):
    await ticks()

def test_none_of_these():
    pass
"""


def test_tests_that_hang_end_whatever_they_hang_in(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(BOTH_LOOPS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\ntimeout = 0.2\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "trimtab.testing.hung", "-p", "no:randomly", str(tmp_path)]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "5 failed, 1 passed, 2 errors" in done.stdout, done.stdout
    assert "not over within 0.2 s" in done.stdout
