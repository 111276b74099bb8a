"""A studio in one file, taken while it runs, and back again. Models are not in it: they are large, and never change."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.contract.errors import DamagedFile, DiskFull, EngineError, InvalidRequest

_DATABASE, _SECRET = "easel.db", "secret"
_FOLDERS = ("images", "inputs")


@dataclass(frozen=True)
class BackupFacts:
    """`absent` are files that the database lists and that are not there any more."""

    jobs: int
    pictures: int
    inputs: int
    absent: int
    bytes: int


def back_up(data: Path, target: Path) -> BackupFacts:
    """Write a tar of database, link key, pictures and inputs; aside, then renamed. The studio may go on meanwhile.

    The database comes first: every file that it lists was whole before it was listed, so the two always fit together.
    """
    if not (data / _DATABASE).is_file():
        raise InvalidRequest(f"There is no studio in {data}.", "Name its folder with --data.", "data")
    aside = target.with_name(f"{target.name}.part")
    try:
        with tempfile.TemporaryDirectory() as folder, tarfile.open(aside, "w") as archive:
            copy = Path(folder) / _DATABASE
            _copy_database(data / _DATABASE, copy)
            archive.add(copy, _DATABASE)
            if (data / _SECRET).is_file():
                archive.add(data / _SECRET, _SECRET)
            jobs, pictures, inputs = _listed(copy)
            here = [name for name in (*pictures, *inputs) if (data / name).is_file()]
            for name in here:
                archive.add(data / name, name, recursive=False)
        aside.replace(target)
    except OSError as error:
        raise DiskFull(f"The backup could not be written ({error.strerror}).", "Free some space, or name another file.", "file") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return BackupFacts(jobs, len(pictures), len(inputs), len(pictures) + len(inputs) - len(here), target.stat().st_size)


def restore(source: Path, data: Path) -> None:
    """Unpack a backup into a data folder that has no studio yet; jobs that were open go on at its next start.

    Raises `InvalidRequest` where a studio is already, `DamagedFile` where the file is no backup of ours.
    """
    taken = [name for name in (_DATABASE, *_FOLDERS) if (data / name).is_file() or ((data / name).is_dir() and any((data / name).iterdir()))]
    if taken:
        raise InvalidRequest(
            f"{data} already holds {taken[0]}.", "Stop that studio and move the folder away, or name another one with --data.", "data"
        )
    data.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".restore-", dir=data))
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                _check(member)
                archive.extract(member, aside, filter="data")
        _check_database(aside / _DATABASE)
        # The database last: without it nobody takes the folder for a studio that is whole.
        for name in (_SECRET, *_FOLDERS, _DATABASE):
            if (aside / name).exists():
                if (data / name).is_dir():
                    (data / name).rmdir()
                (aside / name).replace(data / name)
    except (tarfile.TarError, sqlite3.DatabaseError, EOFError) as error:
        raise DamagedFile(f"{source} is no whole backup.", "Use a file from: python -m engine backup FILE", "file") from error
    except OSError as error:
        raise EngineError(f"Cannot restore {source} ({error.strerror}).", "Look at the file and at the room on the disk.", "file") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's own online copy: whole, whatever is written meanwhile."""
    with contextlib.closing(sqlite3.connect(source, timeout=30)) as live, contextlib.closing(sqlite3.connect(target)) as copy:
        live.backup(copy, pages=1000)


def _listed(database: Path) -> tuple[int, list[str], list[str]]:
    with contextlib.closing(sqlite3.connect(database)) as db:
        jobs = int(db.execute("select count(*) from jobs").fetchone()[0])
        pictures = [str(row[0]) for row in db.execute("select path from pictures where path <> ''")]
        inputs = [f"inputs/{row[0]}.png" for row in db.execute("select distinct hash from inputs")]
    return jobs, pictures, inputs


def _check(member: tarfile.TarInfo) -> None:
    parts = PurePosixPath(member.name).parts
    is_file = member.name in (_DATABASE, _SECRET) or (len(parts) >= 2 and parts[0] in _FOLDERS and ".." not in parts and parts[-1].endswith(".png"))
    if not (member.isreg() and is_file):
        raise tarfile.TarError(member.name)


def _check_database(path: Path) -> None:
    if not path.is_file():
        raise EOFError(path.name)
    with contextlib.closing(sqlite3.connect(path)) as db:
        if db.execute("pragma quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
