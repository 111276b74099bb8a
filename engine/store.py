"""The tables that survive a restart, and the one way to open them: SQLite in WAL mode, or PostgreSQL by its URL.

What changes here changes in `engine/migrations` too; `tests/jobs/test_store.py` compares the two.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from engine.contract.errors import DatabaseBusy, DatabaseMissing, DiskFull

tables = MetaData()

jobs_table = Table(
    "jobs",
    tables,
    Column("id", String(32), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("recipe", Text, nullable=False),
    Column("state", String(16), nullable=False),
    # Counts claims and never goes back: with the id it names one run of the job.
    Column("attempt", Integer, nullable=False, default=0),
    Column("steps_done", Integer, nullable=False, default=0),
    Column("error", JSON(none_as_null=True), nullable=True),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float, nullable=True),
    # Where it stands among its owner's jobs.
    Column("place", Float, nullable=False, server_default="0"),
    # Who runs it, and a number that goes up while they are alive.
    Column("holder", String(80), nullable=True),
    Column("beat", Integer, nullable=False, default=0, server_default="0"),
    # Workers that have died on it.
    Column("crashes", Integer, nullable=False, default=0, server_default="0"),
    # What its owner wants of the run that is under way, and which pictures they do not want at all.
    Column("wish", String(16), nullable=True),
    Column("skipped", JSON(none_as_null=True), nullable=True),
    # A failure that its owner has seen and does not want to see again.
    Column("put_away_at", Float, nullable=True),
    Index("jobs_by_state", "state", "created_at"),
    Index("jobs_by_owner", "owner", "state"),
)

pictures_table = Table(
    "pictures",
    tables,
    Column("id", String(32), primary_key=True),
    Column("job_id", String(32), nullable=False),
    Column("owner", String(128), nullable=False),
    Column("number", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("binned_at", Float, nullable=True),
    # One picture for each place in a job, however often a worker died on it.
    Index("one_picture_each", "job_id", "number", unique=True),
    Index("pictures_by_owner", "owner", "created_at"),
)


# Whoever brought a picture may use it; the file itself is kept once, under the hash of its pixels.
inputs_table = Table(
    "inputs",
    tables,
    Column("hash", String(64), primary_key=True),
    Column("owner", String(128), primary_key=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
)

# Which map a preprocessor made of which picture: the key says all that the map depends on.
maps_table = Table(
    "maps",
    tables,
    Column("key", String(64), primary_key=True),
    Column("map", String(64), nullable=False),
    Column("note", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
)

sheets_table = Table(
    "sheets",
    tables,
    Column("id", String(32), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("sheets_by_owner", "owner", "created_at"),
)

# Short codes by which another device becomes the same visitor; only their keyed hashes are kept.
codes_table = Table(
    "codes",
    tables,
    Column("digest", String(64), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("until", Float, nullable=False),
    Index("codes_by_owner", "owner"),
)

# How long pictures took, for the next estimate.
timings_table = Table(
    "timings",
    tables,
    Column("id", Integer, primary_key=True),
    Column("model_hash", String(64), nullable=False),
    Column("device", String(80), nullable=False),
    Column("traits", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("timings_by_model", "model_hash", "device", "created_at"),
)

_WRITES = "easel_writes"
_LOCKED_S = 60.0
# Any number will do; it is what two servers that start at once agree on.
_MIGRATION_LOCK = 6_027_001


class Store:
    """The open database. `begin` writes: it holds the one write lock and commits at its end. `connect` only reads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(**{_WRITES: True})
        # SQLite has one writer, and who finds it busy sleeps and looks again, in no order: of a hundred, some would wait for seconds.
        self._turn: AbstractContextManager[object] = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    @contextmanager
    def begin(self) -> Generator[Connection, None, None]:
        """Raises `DatabaseBusy` when another program has kept the database locked for a minute, `DiskFull` where there is no room to write."""
        try:
            with self._turn, self._writing.begin() as db:
                yield db
        except OperationalError as error:
            if _is_full(error):
                raise DiskFull("The disk is full; nothing can be written down.", "Free some space, then try again.") from error
            raise

    def connect(self) -> AbstractContextManager[Connection]:
        return self._engine.connect()

    @contextmanager
    def snapshot(self) -> Generator[Connection, None, None]:
        """Reads that all see one moment, whatever is written meanwhile."""
        # In SQLite every transaction does; its driver has no word for it.
        is_sqlite = self._engine.dialect.name == "sqlite"
        with (self._engine if is_sqlite else self._engine.execution_options(isolation_level="REPEATABLE READ")).connect() as db:
            yield db

    def dispose(self) -> None:
        self._engine.dispose()


def _is_full(error: OperationalError) -> bool:
    """Whether a database has no room on its disk: SQLite says so by its own code, PostgreSQL by the standard's."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return (code is not None and code & 0xFF == sqlite3.SQLITE_FULL) or getattr(error.orig, "sqlstate", None) == "53100"


def open_store(data: Path, url: str = "") -> Store:
    """Open the database of `url`, or `data/easel.db`, and bring its tables up to date. Raises `DatabaseMissing` or `DatabaseBusy`."""
    data.mkdir(parents=True, exist_ok=True)
    where = _database(url) if url else URL.create("sqlite", database=str(data / "easel.db"))
    if where.get_backend_name() == "sqlite":
        engine = create_engine(where, connect_args={"timeout": 5}, max_overflow=40)
        _prepare_sqlite(engine)
    else:
        # A server that was restarted leaves dead connections behind.
        engine = create_engine(where, pool_pre_ping=True, max_overflow=40)
    store = Store(engine)
    try:
        with store.begin() as db:
            _migrate(db)
    except DBAPIError as error:
        store.dispose()
        name = where.render_as_string(hide_password=True)
        raise DatabaseMissing(f"The database {name} cannot be opened ({error.orig}).", "Check --database-url, and that its server runs.") from error
    return store


def _database(url: str) -> URL:
    try:
        where = make_url(url)
    except ArgumentError as error:
        raise DatabaseMissing("The database URL cannot be read.", "Write --database-url as postgresql://user:password@host/name.") from error
    if where.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
        raise DatabaseMissing(f"Databases of the kind {where.drivername} are not supported.", "Set --database-url to postgresql:// or sqlite:///.")
    # The short name would ask for another driver than the one that is installed.
    return where if where.get_backend_name() == "sqlite" else where.set(drivername="postgresql+psycopg")


def _migrate(db: Connection) -> None:
    """One transaction that a second server waits for: SQLite has one writer anyway, PostgreSQL is asked for a lock."""
    from alembic.command import upgrade
    from alembic.config import Config

    if db.dialect.name == "postgresql":
        db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    config = Config(attributes={"connection": db})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    upgrade(config, "head")


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        # The driver would begin transactions at moments of its own; `_begin` does.
        connection.isolation_level = None
        # WAL lets the page read while a job is written; NORMAL still survives a killed process.
        # A log that is folded back often stays small, and what it has taken of the disk it keeps: the next write fits.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "wal_autocheckpoint=64"):
            _patiently(connection, f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        # A reader that turned into a writer halfway could not wait for the lock: writers take it at once.
        writes = connection.get_execution_options().get(_WRITES)
        _patiently(connection.connection.driver_connection, "BEGIN IMMEDIATE" if writes else "BEGIN")


def _patiently(connection: Any, statement: str) -> None:
    """Run a statement that may meet a lock; again with longer and longer pauses before giving up."""
    for pause in _pauses():
        try:
            connection.execute(statement).close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if pause is None:
                message = "The studio's database is held by another program."
                raise DatabaseBusy(message, "Close what else has easel.db open, such as a backup; then try again.") from error
            time.sleep(pause)
        else:
            return


def _pauses() -> Iterator[float | None]:
    """Seconds to wait between tries, growing and never quite equal for two that wait; None at the end of `_LOCKED_S`."""
    end, pause = time.monotonic() + _LOCKED_S, 0.02
    while time.monotonic() < end:
        yield pause * random.uniform(0.5, 1)
        pause = min(pause * 2, 1)
    yield None
