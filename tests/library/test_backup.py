"""A studio in one file: taken while a job runs, restored elsewhere, nothing lost; and files that are no backup."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from engine import DamagedFile, Engine, Finished, InvalidRequest, Progress, Settings, TextToImage
from engine.__main__ import main
from engine.library.backup import back_up, restore
from engine.store import tables
from tests.conftest import OWNER, events_of
from tests.databases import database_url
from tests.jobs.test_control import pause_at
from tests.pictures import bring, read, scene


def settings(data: Path, url: str = "") -> Settings:
    return Settings(data=data, database_url=url, worker="inline", dtype="float32", device="cpu")


def test_there_and_back_while_a_job_runs(tmp_path: Path, request_of: Callable[..., TextToImage], capsys: pytest.CaptureFixture[str]) -> None:
    with Engine(settings(tmp_path / "data")) as engine:
        events_of(engine, engine.submit(request_of(count=2), OWNER).id)
        source = bring(engine, scene())
        running = engine.submit(request_of(steps=150, width=128, height=128, seed=3), OWNER)
        with engine.watch(running.id, owner=OWNER) as watch:
            assert any(event.__class__.__name__ == "Progress" for event in (watch.wait(30) for _ in range(20)))
            assert main(["backup", str(tmp_path / "easel.tar"), "--data", str(tmp_path / "data")]) == 0
        before = engine.history(OWNER)
        secret = engine.secret
        engine.cancel(running.id, owner=OWNER)
    said = capsys.readouterr().out
    print(said)
    assert "2 jobs  2 pictures  1 inputs  0 paused" in said
    assert main(["restore", str(tmp_path / "easel.tar"), "--data", str(tmp_path / "other")]) == 0
    with Engine(settings(tmp_path / "other")) as engine:
        assert engine.secret == secret
        assert [(one.id, one.path.read_bytes()) for one in engine.history(OWNER)[-2:]] == [(one.id, one.path.read_bytes()) for one in before[-2:]]
        assert engine.input_image(source, OWNER).hash == source
        # The job that ran when the backup was taken is drawn here.
        assert isinstance(events_of(engine, running.id)[-1], Finished)
    assert not [path for path in (tmp_path / "other").iterdir() if path.name.startswith(".restore")]


@pytest.mark.parametrize(("old", "new"), [("postgresql", "postgresql"), ("sqlite", "postgresql"), ("postgresql", "sqlite")])
def test_from_either_database_into_either(old: str, new: str, tmp_path: Path, request_of: Callable[..., TextToImage]) -> None:
    """A job that was paused in the middle of a picture goes on bit for bit in the new studio, and new rows find new numbers."""
    url = database_url(old, tmp_path / "data") if old == "postgresql" else ""
    with Engine(settings(tmp_path / "data", url)) as engine:
        whole = events_of(engine, engine.submit(request_of(steps=40, prompt='"quoted"\n🏰 \\'), OWNER).id)[-1]
        assert isinstance(whole, Finished)
        expected = read(whole.pictures[0]).tobytes()
        job = engine.submit(request_of(steps=40, prompt='"quoted"\n🏰 \\'), OWNER)
        at = pause_at(engine, job, 10)
        flags = ["--data", str(tmp_path / "data"), "--database-url", url]
        assert main(["backup", str(tmp_path / "easel.tar"), *flags]) == 0
        with engine._store.connect() as db:
            before = {table.name: db.execute(select(table).order_by(*table.primary_key.columns)).all() for table in tables.sorted_tables}
    target = database_url(new, tmp_path) if new == "postgresql" else ""
    assert main(["restore", str(tmp_path / "easel.tar"), "--data", str(tmp_path / "new"), "--database-url", target]) == 0
    if target:
        with pytest.raises(InvalidRequest, match="already holds a studio"):
            restore(tmp_path / "easel.tar", tmp_path / "third", target)
    with Engine(settings(tmp_path / "new", target)) as engine:
        with engine._store.connect() as db:
            after = {table.name: db.execute(select(table).order_by(*table.primary_key.columns)).all() for table in tables.sorted_tables}
        assert after == before
        assert [one.state for one in engine.jobs(OWNER)] == ["paused"]
        assert engine.resume(job.id, OWNER)
        with engine.watch(job.id, owner=OWNER) as watch:
            assert next(event for event in watch if isinstance(event, Progress)).step > at.step
            ending = list(watch)[-1]
        assert isinstance(ending, Finished)
        assert read(ending.pictures[0]).tobytes() == expected


def test_a_folder_that_holds_a_studio_is_left_alone(tmp_path: Path) -> None:
    Engine(settings(tmp_path / "data")).close()
    back_up(tmp_path / "data", tmp_path / "easel.tar")
    with pytest.raises(InvalidRequest, match=r"already holds easel\.db"):
        restore(tmp_path / "easel.tar", tmp_path / "data")
    with pytest.raises(InvalidRequest, match="no studio"):
        back_up(tmp_path / "empty", tmp_path / "none.tar")
    assert not (tmp_path / "none.tar").exists()


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped.png", "images/../../escaped.png", "images/x.txt", "models/x.png", "easel.db/x.png"])
def test_a_tar_that_is_no_backup_writes_nothing(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        info = tarfile.TarInfo(name)
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    with pytest.raises(DamagedFile, match="no whole backup"):
        restore(tmp_path / "evil.tar", tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "escaped").exists()


def test_a_link_in_a_tar_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        info = tarfile.TarInfo("images/x.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(DamagedFile):
        restore(tmp_path / "evil.tar", tmp_path / "data")


def test_a_backup_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    Engine(settings(tmp_path / "data")).close()
    back_up(tmp_path / "data", tmp_path / "easel.tar")
    content = (tmp_path / "easel.tar").read_bytes()
    # Cut in the middle, at the border of a file, and without the last one.
    for part in (content[: len(content) // 2], content[: len(content) // 1024 * 512], content[: content.index(b"backup.json")], b"", b"not a tar"):
        (tmp_path / "cut.tar").write_bytes(part)
        with pytest.raises(DamagedFile):
            restore(tmp_path / "cut.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()
