"""The database: what an older Easel left is adopted whole, two servers may start at once, a lock is waited for."""

from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from engine import DatabaseMissing, Engine, Finished, Settings
from engine.store import open_store, tables
from tests.conftest import events_of
from tests.databases import KINDS, database_url

OLD = Path(__file__).parent / "files" / "before_migrations.db"


@pytest.mark.parametrize("kind", KINDS)
def test_the_migrations_make_the_tables_that_the_code_uses(kind: str, tmp_path: Path) -> None:
    store = open_store(tmp_path, database_url(kind, tmp_path))
    with store.connect() as db:
        assert compare_metadata(MigrationContext.configure(db, opts={"compare_type": True}), tables) == []
    store.dispose()


def rows(path: Path) -> dict[str, list[dict[str, object]]]:
    with sqlite3.connect(path) as db:
        db.row_factory = sqlite3.Row
        found = {name: [dict(row) for row in db.execute(f"SELECT * FROM {name} ORDER BY 1")] for name in ("jobs", "pictures", "inputs", "sheets")}
    db.close()
    return found


def test_a_database_from_before_migrations_is_adopted_without_loss(tmp_path: Path) -> None:
    shutil.copy(OLD, tmp_path / "easel.db")
    before = rows(OLD)
    assert [len(of_table) for of_table in before.values()] == [5, 2, 1, 0]
    for _ in range(2):
        open_store(tmp_path).dispose()
        after = rows(tmp_path / "easel.db")
        for name, of_table in before.items():
            assert [{key: row[key] for key in old} for row, old in zip(after[name], of_table, strict=True)] == of_table
        assert all(row["place"] == row["created_at"] for row in after["jobs"])


def test_what_waited_in_an_old_database_is_drawn(tmp_path: Path) -> None:
    shutil.copy(OLD, tmp_path / "easel.db")
    with Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu")) as engine:
        waiting = engine.jobs("visitor-old")
        for job in waiting:
            assert isinstance(events_of(engine, job.id, "visitor-old")[-1], Finished)
        assert {picture.seed for picture in engine.history("visitor-old")} == {0, 2**32 - 1, 11, 12, 13}


def _open(folder: Path, url: str, go: object, left: object) -> None:
    go.wait()  # type: ignore[attr-defined]
    open_store(folder, url).dispose()
    left.put("done")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_servers_that_start_at_once_make_the_tables_once(kind: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    url, go, left = database_url(kind, tmp_path), context.Event(), context.Queue()
    servers = [context.Process(target=_open, args=(tmp_path, url, go, left)) for _ in range(4)]
    for server in servers:
        server.start()
    time.sleep(0.5)
    go.set()
    for server in servers:
        server.join(60)
    assert [server.exitcode for server in servers] == [0] * 4
    store = open_store(tmp_path, url)
    with store.connect() as db:
        assert db.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["0003"]
    store.dispose()


@pytest.mark.fault("clock, lock, folders")
def test_a_locked_database_is_waited_for(tmp_path: Path) -> None:
    """The database locked for longer than its driver waits"""
    store = open_store(tmp_path)
    other = sqlite3.connect(tmp_path / "easel.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    # Longer than the driver itself would wait.
    threading.Timer(6.5, lambda: other.execute("COMMIT")).start()
    started = time.monotonic()
    with store.begin() as db:
        db.execute(text("DELETE FROM sheets"))
    assert 6 < time.monotonic() - started < 12
    other.close()
    store.dispose()


@pytest.mark.parametrize("url", ["mysql://somewhere/easel", "not a url", "postgresql://nobody@127.0.0.1:1/easel"])
def test_a_database_that_cannot_be_opened_is_said_in_words(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatabaseMissing) as caught:
        open_store(tmp_path, url)
    assert "--database-url" in caught.value.hint
