"""A data folder on a disk of one megabyte: what does not fit fails with its cause, what is there stays whole, and the line goes on."""

from __future__ import annotations

import collections
import itertools
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from engine import DiskFull, Engine, Failed, Finished, Settings, TextToImage
from tests.conftest import OWNER, events_of
from tests.faults.figures import Figures

Make = Callable[..., TextToImage]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own. Needs root, as CI has it; elsewhere: `sudo unshare -m`, or run this test in a container."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"A small disk cannot be mounted here ({done.stderr.strip()}). Run this test as root, or in a container of its own.")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.fault("disk full")
def test_a_full_disk_fails_jobs_with_the_cause_and_the_line_goes_on(small_disk: Path, request_of: Make, figure: Figures) -> None:
    """A data folder of 1 MB, filled by pictures; then room is made"""
    ballast = small_disk / "ballast"
    with Engine(Settings(data=small_disk, worker="inline", dtype="float32", device="cpu")) as engine:
        ballast.write_bytes(bytes(350 * 1024))
        # All of them are accepted while there is room; it ends in the middle of the line.
        jobs = [engine.submit(request_of(steps=1, seed=seed, width=128, height=128), OWNER) for seed in range(16)]
        endings = [events_of(engine, job.id)[-1] for job in jobs]
        failed = [ending for ending in endings if isinstance(ending, Failed)]
        drawn = [ending for ending in endings if isinstance(ending, Finished)]
        assert len(drawn) >= 2
        assert len(failed) >= 2
        assert all(isinstance(ending.error, DiskFull) for ending in failed), failed
        assert all("The disk is full" in ending.error.message and "Free some space" in ending.error.hint for ending in failed)
        with pytest.raises(DiskFull, match="nothing can be drawn"):
            engine.submit(request_of(width=256, height=256, count=4), OWNER)
        figure("ended with their cause", len(failed) + len(drawn), "of 16", equals=16)
        figure("partial or unlisted files", len(strays(engine)), equals=0)
        ballast.unlink()
        assert engine.retry(failed[0].job_id, OWNER).id == failed[0].job_id
        after = [engine.submit(request_of(steps=1, seed=99), OWNER).id, failed[0].job_id]
        figure("drawn once there is room", sum(isinstance(events_of(engine, one)[-1], Finished) for one in after), "of 2", equals=2)
    with sqlite3.connect(small_disk / "easel.db") as db:
        figure("databases sound", db.execute("pragma integrity_check").fetchone()[0] == "ok", equals=1)
    db.close()


def strays(engine: Engine) -> list[Path]:
    """Picture files that are not listed, cannot be read whole, or were written aside and left."""
    listed = {picture.path for picture in engine.history(OWNER, 1000)}
    for path in listed:
        with Image.open(path) as image:
            image.load()
    return [path for path in (engine.settings.data / "images").rglob("*") if path.is_file() and path not in listed]


@pytest.mark.fault("disk full")
def test_a_disk_without_a_single_byte_left_refuses_in_words(small_disk: Path, request_of: Make, figure: Figures) -> None:
    """The last byte taken by another program; then room is made"""
    with Engine(Settings(data=small_disk, worker="inline", dtype="float32", device="cpu")) as engine:
        jobs = [engine.submit(request_of(steps=1, seed=seed), OWNER) for seed in range(2)]
        events_of(engine, jobs[1].id)
        with (small_disk / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            collections.deque(file.write(bytes(4096)) for _ in itertools.count())
        with pytest.raises(DiskFull):
            engine.submit(request_of(), OWNER)
        # Below the check too: what the database itself says.
        with pytest.raises(DiskFull, match="written down"):
            collections.deque(engine._journal.accept(jobs[0].recipe, "visitor-other") for _ in range(200))
        (small_disk / "ballast").unlink()
        ending = events_of(engine, engine.submit(request_of(), OWNER).id)[-1]
        figure("drawn once there is room", isinstance(ending, Finished), equals=1)
