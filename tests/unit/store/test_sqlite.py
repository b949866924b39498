"""What is SQLite's own: files, schema versions, a writer that is killed."""

import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import create_engine, inspect, text

from trimtab.errors import Invalid, NotFound, Unavailable
from trimtab.store import schema
from trimtab.store.migrations import migrate
from trimtab.store.sqlite import open_sqlite
from trimtab.testing.alarms import an_alarm, an_item
from trimtab.testing.hosting import a_setting
from trimtab.testing.scaling import a_target, an_activity
from trimtab.testing.store import a_model, a_record

WRITER = """
import sys
from pathlib import Path
from trimtab.store.sqlite import open_sqlite
from trimtab.testing.store import a_model
store = open_sqlite(Path(sys.argv[1]))
n = 0
while True:
    store.add_model(a_model(f"m{n}"), {"n": str(n)})
    print(n, flush=True)
    n += 1
"""


def killed(program: str, path: Path) -> list[str]:
    """Kill a program that writes to the database; return what it had said by then."""
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        return said + writer.stdout.readlines()


def test_what_was_stored_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    store = open_sqlite(path)
    store.add_model(a_model(), {"a": "1"})
    store.close()
    again = open_sqlite(path)
    assert again.get_model("fraud") == a_model()
    assert again.get_tags("model", "fraud") == {"a": "1"}
    again.close()


def test_the_database_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "t.db")
    store.add_model(a_model(), {})
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    store.close()


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    acknowledged = killed(WRITER, path)
    last = int(acknowledged[-1])
    store = open_sqlite(path)
    assert last >= 19
    for n in range(last + 1):
        assert store.get_model(f"m{n}") == a_model(f"m{n}")
        assert store.get_tags("model", f"m{n}") == {"n": str(n)}
    assert len(store.list_models()) - (last + 1) in (0, 1)  # the one in hand: whole, or not at all
    store.close()


LAZY_WRITER = """
import sys
from pathlib import Path
from trimtab.store.sqlite import open_sqlite
from trimtab.testing.store import a_record
store = open_sqlite(Path(sys.argv[1]))
record = store.add_endpoint(a_record(), {})
while True:
    record = store.save_endpoint(record, lazily=True)
    print(record.endpoint.revision, flush=True)
"""


def test_a_killed_writer_loses_no_lazy_write_either(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    acknowledged = killed(LAZY_WRITER, path)
    store = open_sqlite(path)
    assert store.get_endpoint("fraud").endpoint.revision - int(acknowledged[-1]) in (0, 1)
    store.close()


@pytest.mark.parametrize(("synchronous", "expected"), [("FULL", [1, 2, 1]), ("NORMAL", [1, 1, 1]), ("OFF", [0, 0, 0])])
def test_only_writes_that_must_outlive_the_machine_wait_for_the_disk(
    tmp_path: Path, synchronous: str, expected: list[int]
) -> None:
    store = open_sqlite(tmp_path / "t.db", synchronous=synchronous)
    record = store.add_endpoint(a_record(), {})
    seen = []
    for lazily in (True, False, True):
        record = store.save_endpoint(record, lazily=lazily)
        with store._engine.connect() as connection:
            seen.append(connection.exec_driver_sql("PRAGMA synchronous").scalar_one())
    store.close()
    assert seen == expected


def test_a_database_of_a_newer_trimtab_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    open_sqlite(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(schema.schema.update().values(version=schema.SCHEMA_VERSION + 1))
    engine.dispose()
    with pytest.raises(Invalid, match="Upgrade trimtab, or use another data directory"):
        open_sqlite(path)


def test_an_older_database_is_stepped_up_one_version_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    open_sqlite(path).close()
    now = schema.SCHEMA_VERSION
    steps = {
        now: lambda connection: connection.execute(text("CREATE TABLE one (x INTEGER)")),
        now + 1: lambda connection: connection.execute(text("ALTER TABLE one ADD COLUMN y INTEGER")),
    }
    engine = create_engine(f"sqlite:///{path}")
    for _ in range(2):  # the second time there is nothing to do
        with engine.begin() as connection:
            migrate(connection, steps=steps, target=now + 2)
    columns = [column["name"] for column in inspect(engine).get_columns("one")]
    engine.dispose()
    assert columns == ["x", "y"]


def test_a_database_that_is_not_one_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(b"this is not a database, it only pretends to be one" * 100)
    with pytest.raises(Invalid, match="not a trimtab database"):
        open_sqlite(path)


def test_a_full_disk_is_named_loses_nothing_and_passes(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "t.db")
    store.add_model(a_model(), {})
    pages = "PRAGMA max_page_count"
    with store._engine.connect() as connection:
        held = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"{pages}={held}")
    big = {"k": "x" * 100_000}
    with pytest.raises(Unavailable, match=r"full.*free space"):
        store.add_model(a_model("big"), big)
    assert store.get_model("fraud") == a_model()
    with pytest.raises(NotFound):
        store.get_model("big")
    with store._engine.connect() as connection:
        connection.exec_driver_sql(f"{pages}={held + 1000}")
    store.add_model(a_model("big"), big)
    store.close()


def test_a_lock_that_is_held_for_too_long_is_named(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "t.db", busy_timeout_s=0.05)
    other = sqlite3.connect(tmp_path / "t.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        store.add_model(a_model(), {})
    other.execute("ROLLBACK")
    store.add_model(a_model(), {})
    other.close()
    store.close()


SCHEMA_1 = """
CREATE TABLE trimtab_schema (id INTEGER NOT NULL, version INTEGER NOT NULL, PRIMARY KEY (id));
CREATE TABLE models ("key" VARCHAR(255) NOT NULL, value BLOB NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE endpoint_configs ("key" VARCHAR(255) NOT NULL, value BLOB NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE endpoints ("key" VARCHAR(255) NOT NULL, revision BIGINT NOT NULL, value BLOB NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE tags (kind VARCHAR(32) NOT NULL, owner VARCHAR(255) NOT NULL, "key" VARCHAR(255) NOT NULL,
  position INTEGER NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, owner, "key"));
CREATE TABLE events (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, endpoint VARCHAR(255) NOT NULL, value BLOB NOT NULL);
CREATE INDEX events_by_endpoint ON events (endpoint, id);
INSERT INTO trimtab_schema VALUES (1, 1);
INSERT INTO tags VALUES ('model', 'fraud', 'team', 0, 'risk');
"""


def test_a_database_of_schema_1_gets_alarms_and_scaling_and_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    old = sqlite3.connect(path)
    old.executescript(SCHEMA_1)
    old.execute("INSERT INTO models VALUES ('fraud', ?)", (msgspec.msgpack.encode(a_model()),))
    old.commit()
    old.close()
    for _ in range(2):
        store = open_sqlite(path)
        assert store.get_model("fraud") == a_model()
        assert store.get_tags("model", "fraud") == {"team": "risk"}
        store.alarms.save(an_alarm(), [an_item()])
        assert list(store.alarms.load()) == [an_alarm()]
        store.scaling.save_target(a_target())
        store.scaling.save_activity(an_activity())
        assert list(store.scaling.targets()) == [a_target()]
        store.close()
    engine = create_engine(f"sqlite:///{path}")
    migrated = {table: inspect(engine).get_columns(table) for table in ("alarms", "alarm_history")}
    indexes = {index["name"] for index in inspect(engine).get_indexes("alarm_history")}
    with engine.connect() as connection:
        assert connection.execute(schema.schema.select()).one().version == schema.SCHEMA_VERSION == 4
    engine.dispose()
    assert [column["name"] for column in migrated["alarms"]] == ["name", "value"]
    assert [column["name"] for column in migrated["alarm_history"]] == ["id", "alarm", "at_ms", "value"]
    assert indexes == {"alarm_history_by_alarm", "alarm_history_by_time"}


def test_a_database_of_schema_2_gets_scaling_with_the_tables_of_a_new_one(tmp_path: Path) -> None:
    open_sqlite(tmp_path / "new.db").close()
    open_sqlite(tmp_path / "old.db").close()
    old = sqlite3.connect(tmp_path / "old.db")
    for table in (*schema.SCALING, schema.model_settings):
        old.execute(f"DROP TABLE {table.name}")
    old.execute("UPDATE trimtab_schema SET version = 2")
    old.commit()
    old.close()
    store = open_sqlite(tmp_path / "old.db")
    store.scaling.save_target(a_target())
    assert list(store.scaling.targets()) == [a_target()]
    store.close()
    tables = {name: _definitions(tmp_path / name) for name in ("new.db", "old.db")}
    assert tables["new.db"] == tables["old.db"]


def test_a_database_of_schema_3_gets_settings_of_models_with_the_table_of_a_new_one(tmp_path: Path) -> None:
    open_sqlite(tmp_path / "new.db").close()
    open_sqlite(tmp_path / "old.db").close()
    old = sqlite3.connect(tmp_path / "old.db")
    old.execute("DROP TABLE model_settings")
    old.execute("UPDATE trimtab_schema SET version = 3")
    old.commit()
    old.close()
    store = open_sqlite(tmp_path / "old.db")
    store.add_endpoint(a_record(), {})
    store.hosting.save_setting("fraud", a_setting())
    assert list(store.hosting.settings("fraud")) == [a_setting()]
    store.close()
    tables = {name: _definitions(tmp_path / name) for name in ("new.db", "old.db")}
    assert tables["new.db"] == tables["old.db"]


def _definitions(path: Path) -> set[tuple[str, str | None]]:
    connection = sqlite3.connect(path)
    found = set(connection.execute("SELECT name, sql FROM sqlite_master"))
    connection.close()
    return found
