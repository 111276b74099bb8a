"""Workers and servers die at any step: nothing is lost, nothing is drawn twice, nothing is listed half."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engine import Engine, Failed, Finished, Job, Loading, Progress, Settings, TextToImage
from engine.jobs.hosts.process import ProcessHost
from tests.conftest import OWNER, events_of
from tests.faults.figures import Figures
from tests.jobs.server import start
from tests.studio import wait_for

pytestmark = pytest.mark.skipif(os.name == "nt", reason="killing by signal is POSIX")
Make = Callable[..., TextToImage]


def options(data: Path, device: str = "cpu") -> Settings:
    return Settings(data=data, dtype="float32", device=device)


def pid_of(engine: Engine, host: int = 0) -> int:
    worker = engine._hosts[host]  # pyright: ignore[reportPrivateUsage]
    assert isinstance(worker, ProcessHost)
    assert worker.pid is not None
    return worker.pid


def check_pictures(engine: Engine, jobs: list[Job]) -> None:
    """Each job has each of its pictures once, whole; no file lies about that is not listed."""
    listed = engine.history(OWNER, 1000)
    assert sorted((picture.job_id, picture.index) for picture in listed) == sorted((job.id, k) for job in jobs for k in range(job.recipe.count))
    for picture in listed:
        with Image.open(picture.path) as image:
            image.load()
    files = [path for path in (engine.settings.data / "images").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert sorted(files) == sorted(picture.path for picture in listed)


@pytest.mark.fault("worker killed")
def test_a_worker_that_is_killed_at_rest_is_replaced_before_anybody_asks(tmp_path: Path, request_of: Make, figure: Figures) -> None:
    """kill -9 while nothing is drawn: a balancer that asks whether the studio can draw would else send nobody, for ever"""
    with Engine(options(tmp_path)) as engine:
        wait_for(lambda: engine.health().is_ready, 60, "the worker")
        begin, first = time.monotonic(), pid_of(engine)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: pid_of(engine) != first and engine.health().is_ready, 60, "a new worker")
        figure("can draw again after", time.monotonic() - begin, "s", at_most=60)
        job = engine.submit(request_of(), OWNER)
        assert isinstance(events_of(engine, job.id)[-1], Finished)
        check_pictures(engine, [job])
        # One that dies while it starts is not started again and again for nobody.
        second = pid_of(engine)
        os.kill(second, signal.SIGKILL)
        wait_for(lambda: pid_of(engine) != second, 60, "the third")
        third = pid_of(engine)
        os.kill(third, signal.SIGKILL)
        time.sleep(3)
        assert (pid_of(engine), engine.health().is_ready) == (third, False)
        # Somebody who wants a picture has one all the same.
        job = engine.submit(request_of(), OWNER)
        assert isinstance(events_of(engine, job.id)[-1], Finished)


@pytest.mark.fault("worker killed")
@pytest.mark.timed
def test_a_killed_worker_is_replaced_and_its_job_goes_on(tmp_path: Path, request_of: Make, figure: Figures) -> None:
    """kill -9 of the process that draws, in the middle of a job"""
    with Engine(options(tmp_path)) as engine:
        job = engine.submit(request_of(steps=40), OWNER)
        killed = 0.0
        with engine.watch(job.id, owner=OWNER) as watch:
            for event in watch:
                if isinstance(event, Progress) and event.step >= 2 and not killed:
                    os.kill(pid_of(engine), signal.SIGKILL)
                    killed = time.monotonic()
                elif killed and isinstance(event, Loading) and "died" in event.what:
                    said = time.monotonic() - killed
        assert isinstance(event, Finished)
        figure("the page is told after", said, "s", at_most=2)
        check_pictures(engine, [job])


@pytest.mark.fault("worker killed")
def test_a_job_that_kills_two_workers_is_set_aside_and_the_next_one_runs(tmp_path: Path, request_of: Make) -> None:
    with Engine(options(tmp_path)) as engine:
        job = engine.submit(request_of(steps=200), OWNER)
        following = engine.submit(request_of(), OWNER)
        killed: set[int] = set()
        with engine.watch(job.id, owner=OWNER) as watch:
            for event in watch:
                if isinstance(event, Progress) and pid_of(engine) not in killed:
                    killed.add(pid_of(engine))
                    os.kill(pid_of(engine), signal.SIGKILL)
        assert isinstance(event, Failed)
        assert "killed 2" in event.error.message
        assert len(killed) == 2
        assert isinstance(events_of(engine, following.id)[-1], Finished)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.fault("worker killed")
def test_50_jobs_while_the_worker_is_killed_at_10_random_steps(tmp_path: Path, request_of: Make, figure: Figures) -> None:
    """kill -9 at 10 random steps over 50 jobs"""
    rng = random.Random(4)
    unlucky = {number: rng.randrange(1, 6) for number in rng.sample(range(50), 10)}
    with Engine(options(tmp_path)) as engine:
        jobs = [engine.submit(request_of(steps=6, seed=number), OWNER) for number in range(50)]
        for number, job in enumerate(jobs):
            is_killed = False
            with engine.watch(job.id, owner=OWNER) as watch:
                for event in watch:
                    if isinstance(event, Progress) and event.step >= unlucky.get(number, 99) and not is_killed:
                        is_killed = True
                        os.kill(pid_of(engine), signal.SIGKILL)
            assert isinstance(event, Finished), event
        listed = [picture.job_id for picture in engine.history(OWNER, 1000)]
        figure("jobs lost", len({job.id for job in jobs} - set(listed)), equals=0)
        figure("jobs done twice", len(listed) - len(set(listed)), equals=0)
        check_pictures(engine, jobs)


def test_a_worker_dies_alone_and_the_other_goes_on(tmp_path: Path, request_of: Make) -> None:
    with Engine(options(tmp_path, "cpu,cpu")) as engine:
        jobs = [engine.submit(request_of(steps=60, seed=seed), OWNER) for seed in range(2)]
        seen = [threading.Event(), threading.Event()]

        def follow(number: int) -> None:
            for event in watches[number]:
                if isinstance(event, Progress):
                    seen[number].set()

        watches = [engine.watch(job.id, owner=OWNER) for job in jobs]
        threads = [threading.Thread(target=follow, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        assert all(one.wait(60) for one in seen)
        victim, other = pid_of(engine, 0), pid_of(engine, 1)
        os.kill(victim, signal.SIGKILL)
        for thread in threads:
            thread.join(90)
        assert [engine._journal.get(job.id).state for job in jobs] == ["done", "done"]  # pyright: ignore[reportPrivateUsage]
        assert sum(engine._journal.get(job.id).crashes for job in jobs) == 1  # pyright: ignore[reportPrivateUsage]
        assert pid_of(engine, 1) == other
        check_pictures(engine, jobs)


@pytest.mark.fault("server killed")
def test_a_server_killed_with_40_waiting_and_2_running(tmp_path: Path, request_of: Make, figure: Figures) -> None:
    """kill -9 of the server with 40 waiting and 2 running, then a new start

    All 42 finish, under their ids and in their order; no half picture is listed.
    """
    waiting, devices = 40, "cpu,cpu"
    engine = Engine(options(tmp_path))
    jobs = [engine.submit(request_of(steps=30 if number < 2 else 2, seed=number), OWNER) for number in range(waiting + 2)]
    engine.close()
    server = start(tmp_path, devices)
    try:
        database = sqlite3.connect(tmp_path / "easel.db")
        wait_for(lambda: database.execute("SELECT count(*) FROM jobs WHERE state = 'running' AND beat > 2").fetchone()[0] == 2, 90, "two runs")
    finally:
        server.kill()
        server.wait()
    states = [row[0] for row in database.execute("SELECT state FROM jobs ORDER BY place")]
    assert states.count("running") == 2
    database.close()
    with Engine(options(tmp_path, devices)) as engine:
        began = time.monotonic()
        assert [job.id for job in engine.jobs(OWNER)] == [job.id for job in jobs][-len(engine.jobs(OWNER)) :]
        figure("finished after the start", sum(isinstance(events_of(engine, job.id)[-1], Finished) for job in jobs), "of 42", equals=42)
        print(f"{time.monotonic() - began:.0f} s after the start")
        check_pictures(engine, jobs)
        # Each of the two devices took them in order, so no three of them end in the opposite order.
        figure("ended in opposite order", longest_fall([picture.seed for picture in reversed(engine.history(OWNER, 100))]), "in a row", at_most=2)


def longest_fall(numbers: list[int]) -> int:
    """Length of the longest falling subsequence: how many rows that each rise these are made of (Dilworth 1950)."""
    falls: list[int] = []
    for place, number in enumerate(numbers):
        falls.append(1 + max((fall for fall, before in zip(falls, numbers[:place], strict=True) if before > number), default=0))
    return max(falls, default=0)


def test_two_servers_share_one_database(tmp_path: Path, request_of: Make) -> None:
    """What one server accepts the other may draw; whoever watches here sees the ending; a stop reaches the other server."""
    with Engine(options(tmp_path)) as engine:
        server = start(tmp_path, "cpu")
        try:
            jobs = [engine.submit(request_of(steps=20, seed=seed), OWNER) for seed in range(12)]
            for job in jobs:
                assert isinstance(events_of(engine, job.id)[-1], Finished)
            check_pictures(engine, jobs)
        finally:
            server.terminate()
            assert server.wait(30) == 0


@pytest.mark.fault("clock, lock, folders")
def test_a_locked_database_and_deleted_folders_lose_nothing(
    tmp_path: Path, request_of: Make, monkeypatch: pytest.MonkeyPatch, figure: Figures
) -> None:
    """The database locked for 7 s and every folder deleted, in the middle of a job"""
    aside = tmp_path / "tmp"
    aside.mkdir()
    monkeypatch.setenv("TMPDIR", str(aside))
    monkeypatch.setattr(tempfile, "tempdir", None)
    data = tmp_path / "data"
    with Engine(options(data)) as engine:
        job = engine.submit(request_of(steps=30, count=2), OWNER)
        other = sqlite3.connect(data / "easel.db", isolation_level=None, check_same_thread=False)
        with engine.watch(job.id, owner=OWNER) as watch:
            next(event for event in watch if isinstance(event, Progress))
            other.execute("BEGIN EXCLUSIVE")
            for folder in (aside, data / "images", data / "tiles", data / "paused", data / "inputs"):
                shutil.rmtree(folder, ignore_errors=True)
            threading.Timer(7, lambda: other.execute("COMMIT")).start()
            assert isinstance(list(watch)[-1], Finished)
        figure("pictures lost", job.recipe.count - len(engine.history(OWNER)), equals=0)
        check_pictures(engine, [job])
        other.close()
