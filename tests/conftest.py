"""For every test: Hypothesis judges what comes out, not how long a busy machine takes for it."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings

from trimtab.testing.postgresql import PostgresServer, postgres_server, programs

settings.register_profile("trimtab", parent=settings(), deadline=None)
settings.load_profile("trimtab")


def pytest_collection_finish() -> None:
    """Modules and tests stay: without them a collection, of which hundreds of tests need one, takes a hundredth."""
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
