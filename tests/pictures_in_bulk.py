"""Hundreds of listed pictures in no time: one that was really drawn, listed again and again under new ids, each with a file of its own."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
from pathlib import Path


def list_again(data: Path, times: int) -> list[str]:
    """Copies of the newest picture of the studio in `data`, newest last: later than all that are there. Their ids in that order."""
    with contextlib.closing(sqlite3.connect(data / "easel.db")) as db, db:
        db.row_factory = sqlite3.Row
        known = dict(db.execute("SELECT * FROM pictures WHERE path <> '' ORDER BY created_at DESC LIMIT 1").fetchone())
        ids = [secrets.token_hex(16) for _ in range(times)]
        for number, name in enumerate(ids, start=1):
            path = str(Path(known["path"]).with_name(f"{name}.png"))
            shutil.copy(data / known["path"], data / path)
            row = {**known, "id": name, "job_id": name, "path": path, "seed": number, "created_at": known["created_at"] + 0.001 * number}
            db.execute(f"INSERT INTO pictures ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))
    return ids
