"""For every test: Hypothesis judges what comes out, not how long a busy machine takes for it."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from trimtab.testing.hung import (  # noqa: F401 hooks
    pytest_runtest_teardown,
    pytest_timeout_cancel_timer,
    pytest_timeout_set_timer,
)
from trimtab.testing.postgresql import PostgresServer, postgres_server, programs

# The check before a landing (.ci/run) draws the same each time: it judges the change. New examples are drawn by
# whoever runs `make test`.
settings.register_profile("trimtab", parent=settings(), deadline=None, derandomize="TRIMTAB_CI" in os.environ)
settings.load_profile("trimtab")


HERE = Path(__file__).parent
LONGEST_FIRST = ("acceptance", "integration")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first: processes that share the files (`make test`) then end at about the same time."""

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(HERE).parts[0]
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=rank)


def pytest_configure() -> None:
    """Ctrl-C is a subject of tests. A job in a shell's background ignores it, and so would all programs that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _heap_that_stays() -> None:
    """What is there before a file's tests stays. Hundreds of them collect garbage, a hundred times quicker without it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, for tests that are marked so."""
    bin_dir = programs()
    if bin_dir is None:
        pytest.skip("PostgreSQL's programs are not installed (Debian: apt-get install postgresql)")
    with postgres_server(bin_dir) as server:
        yield server
