"""The tables that survive a restart, and the one way to open them. SQLite in WAL mode, or any SQLAlchemy URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Column, Engine, Float, Index, Integer, MetaData, String, Table, Text, create_engine, event

tables = MetaData()

jobs_table = Table(
    "jobs",
    tables,
    Column("id", String(32), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("recipe", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("steps_done", Integer, nullable=False, default=0),
    Column("error", JSON, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float, nullable=True),
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
    Column("seed", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("recipe", Text, nullable=False),
    Column("created_at", Float, nullable=False),
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


def open_store(data: Path) -> Engine:
    """Open `data/easel.db`, making folder and tables where they are missing."""
    data.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{data / 'easel.db'}", connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        cursor = connection.cursor()
        # WAL lets the page read while a job is written; NORMAL still survives a killed process.
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    tables.create_all(engine)
    return engine
