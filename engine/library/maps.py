"""Which maps are here already: remembered by what they were made of and how, for everybody who has that picture."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from engine.contract.preprocessors import PREPROCESSORS
from engine.store import Store
from engine.store import maps_table as maps


class Maps:
    """Hashes of finished maps by key, with what is to be said about them. The maps themselves are inputs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, key: str) -> tuple[str, str] | None:
        """Hash and note."""
        with self._store.connect() as db:
            row = db.execute(select(maps.c.map, maps.c.note).where(maps.c.key == key)).one_or_none()
        return None if row is None else (row[0], row[1])

    def remember(self, key: str, digest: str, note: str) -> None:
        row = {"key": key, "map": digest, "note": note, "created_at": time.time()}
        # Where another server remembers the same at this moment, it says the same.
        with contextlib.suppress(IntegrityError), self._store.begin() as db:
            db.execute(delete(maps).where(maps.c.key == key))
            db.execute(insert(maps).values(row))


def map_key(source: str, preprocessor: str, settings: Mapping[str, float]) -> str:
    """SHA-256 over all that a map depends on: picture, preprocessor with its version and weights, every setting."""
    facts = PREPROCESSORS[preprocessor]
    weights = [(one.repository, one.revision, one.path) for one in facts.weights]
    parts = [source, preprocessor, facts.version, weights, sorted((name, float(value)) for name, value in settings.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
