"""A studio in one file, taken while it runs, and back again, from either database into either. Models are not in it: they are large, and never change."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from engine.contract.errors import DamagedFile, DiskFull, EngineError, InvalidRequest
from engine.store import Store, open_store, tables

_SECRET, _FACTS, _ROWS = "secret", "backup.json", "rows"
# What each folder may hold: pictures, brought pictures, and walks that were put aside.
_FOLDERS = {"images": ".png", "inputs": ".png", "paused": ".safetensors"}
_AT_ONCE = 500
Row = dict[str, Any]


@dataclass(frozen=True)
class BackupFacts:
    """`absent` are files that the database lists and that are not there any more; `paused` are jobs that go on in the middle of a picture."""

    jobs: int
    pictures: int
    inputs: int
    paused: int
    absent: int
    bytes: int


def back_up(data: Path, target: Path, url: str = "") -> BackupFacts:
    """Write a tar of every row, link key, pictures, inputs and paused walks; aside, then renamed. The studio may go on meanwhile.

    The rows come first, all of one moment: every file that they list was whole before it was listed, so the two always fit together.
    """
    if not (data / _SECRET).is_file():
        raise InvalidRequest(f"There is no studio in {data}.", "Name its folder with --data.", "data")
    aside, store = target.with_name(f"{target.name}.part"), open_store(data, url)
    try:
        with tempfile.TemporaryDirectory() as folder, tarfile.open(aside, "w") as archive:
            counts, named = _write_rows(store, Path(folder))
            for table in tables.sorted_tables:
                archive.add(Path(folder) / f"{table.name}.jsonl", f"{_ROWS}/{table.name}.jsonl")
            archive.add(data / _SECRET, _SECRET)
            here = [name for name in named if (data / name).is_file()]
            # One that goes on meanwhile takes its file with it, and then begins its picture anew.
            walks = [f"paused/{path.name}" for path in sorted((data / "paused").glob("*.safetensors"))]
            kept = [name for name in (*here, *walks) if _add(archive, data, name)]
            facts = {"easel": 2, "rows": counts, "files": len(kept)}
            _add_text(archive, _FACTS, json.dumps(facts))
        aside.replace(target)
    except OSError as error:
        raise DiskFull(f"The backup could not be written ({error.strerror}).", "Free some space, or name another file.", "file") from error
    finally:
        store.dispose()
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    paused = sum(name.startswith("paused/") for name in kept)
    absent = len(named) - sum(not name.startswith("paused/") for name in kept)
    inputs = sum(name.startswith("inputs/") for name in named)
    return BackupFacts(counts["jobs"], counts["pictures"], inputs, paused, absent, target.stat().st_size)


def restore(source: Path, data: Path, url: str = "") -> None:
    """Unpack a backup into a data folder and a database that hold no studio yet; jobs that were open go on at the next start.

    Raises `InvalidRequest` where a studio is already, `DamagedFile` where the file is no whole backup of ours.
    """
    taken = [name for name in ("easel.db", *_FOLDERS) if (data / name).is_file() or ((data / name).is_dir() and any((data / name).iterdir()))]
    if taken:
        raise InvalidRequest(
            f"{data} already holds {taken[0]}.", "Stop that studio and move the folder away, or name another one with --data.", "data"
        )
    is_new = not data.exists()
    data.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".restore-", dir=data))
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                _check(member)
                archive.extract(member, aside, filter="data")
        rows = _read_rows(aside)
        _put_back(aside, data, rows, url)
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DamagedFile(f"{source} is no whole backup.", "Use a file from: python -m engine backup FILE", "file") from error
    except OSError as error:
        raise EngineError(f"Cannot restore {source} ({error.strerror}).", "Look at the file and at the room on the disk.", "file") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if is_new and not any(data.iterdir()):
            data.rmdir()


def _write_rows(store: Store, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Each table as lines of JSON; how many rows each has, and the files that they name."""
    counts: dict[str, int] = {}
    named: list[str] = []
    with store.snapshot() as db:
        for table in tables.sorted_tables:
            counts[table.name] = 0
            with (folder / f"{table.name}.jsonl").open("w", encoding="utf-8") as file:
                for row in _rows(db, table):
                    counts[table.name] += 1
                    # One that was emptied out of the bin has a row and no file.
                    named += [row["path"]] if table.name == "pictures" and row["path"] else []
                    named += [f"inputs/{row['hash']}.png"] if table.name == "inputs" else []
                    file.write(json.dumps(row) + "\n")
    # A picture that two owners have brought is one file.
    return counts, list(dict.fromkeys(named))


def _rows(db: Connection, table: Table) -> Iterator[Row]:
    """Numbers that a database counts up by itself are left to the next one."""
    wanted = [column for column in table.columns if column is not table.autoincrement_column]
    for row in db.execute(select(*wanted).order_by(*table.primary_key.columns)).mappings():
        yield dict(row)


def _add(archive: tarfile.TarFile, data: Path, name: str) -> bool:
    """Whether the file was still there."""
    try:
        archive.add(data / name, name, recursive=False)
    except FileNotFoundError:
        return False
    return True


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _read_rows(aside: Path) -> dict[str, list[Row]]:
    """Every row of a backup that is whole. Raises `ValueError`, `KeyError` or `OSError`'s kin where it is not."""
    if not (aside / _FACTS).is_file():
        raise EOFError(_FACTS)
    facts = asdict(_Facts(**json.loads((aside / _FACTS).read_text(encoding="utf-8"))))
    found: dict[str, list[Row]] = {}
    for table in tables.sorted_tables:
        path = aside / _ROWS / f"{table.name}.jsonl"
        # A table that an older Easel did not have yet is empty.
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        found[table.name] = [_row(table, json.loads(line)) for line in lines]
        if len(lines) != facts["rows"].get(table.name, 0):
            raise EOFError(path.name)
    files = sum(path.is_file() for folder in _FOLDERS for path in (aside / folder).rglob("*"))
    if files != facts["files"]:
        raise EOFError("files")
    return found


@dataclass(frozen=True)
class _Facts:
    easel: int
    rows: dict[str, int]
    files: int


def _row(table: Table, row: Any) -> Row:
    """A line of ours: columns that the table has, and no others."""
    if not isinstance(row, dict) or not set(row) <= {column.name for column in table.columns}:
        raise ValueError(table.name)
    return row


def _put_back(aside: Path, data: Path, rows: dict[str, list[Row]], url: str) -> None:
    """Files and rows together: the rows count once the files are there."""
    store = open_store(data, url)
    try:
        with store.begin() as db:
            for table in tables.sorted_tables:
                if db.execute(select(*table.primary_key.columns).limit(1)).first() is not None:
                    raise InvalidRequest("This database already holds a studio.", "Name an empty one with --database-url.", "database_url")
                for start in range(0, len(rows[table.name]), _AT_ONCE):
                    db.execute(insert(table), rows[table.name][start : start + _AT_ONCE])
            for name in (_SECRET, *_FOLDERS):
                if (aside / name).exists():
                    if (data / name).is_dir():
                        (data / name).rmdir()
                    (aside / name).replace(data / name)
    except BaseException:
        store.dispose()
        if not url:
            for path in data.glob("easel.db*"):
                path.unlink()
        raise
    store.dispose()


def _check(member: tarfile.TarInfo) -> None:
    parts = PurePosixPath(member.name).parts
    is_row = len(parts) == 2 and parts[0] == _ROWS and parts[1].removesuffix(".jsonl") in tables.tables
    is_file = len(parts) >= 2 and parts[0] in _FOLDERS and ".." not in parts and parts[-1].endswith(_FOLDERS[parts[0]])
    if not (member.isreg() and (member.name in (_SECRET, _FACTS) or is_row or is_file)):
        raise tarfile.TarError(member.name)
