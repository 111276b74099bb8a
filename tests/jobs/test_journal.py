"""Exactly once: however many servers share the journal, and whoever of them dies."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import InvalidRequest, Job, NotFound
from engine.jobs.journal import Journal
from engine.jobs.leases import Leases, holder_name, is_gone
from engine.library.history import History
from engine.store import Store, open_store
from tests.databases import KINDS, database_url
from tests.jobs.crowd import RECIPE, picture_of, serve

OWNER = "visitor-test"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path, database_url(request.param, tmp_path))
    yield opened
    opened.dispose()


@pytest.fixture
def journal(store: Store) -> Journal:
    return Journal(store)


def accept(journal: Journal, count: int = 1) -> list[Job]:
    return [journal.accept(RECIPE, OWNER) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_50_jobs_8_threads_4_processes_each_job_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = database_url(kind, tmp_path)
    store = open_store(tmp_path, url)
    request.addfinalizer(store.dispose)
    jobs = accept(Journal(store), 50)
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    servers = [context.Process(target=serve, args=(tmp_path, url, seed, 8, answers)) for seed in range(4)]
    for server in servers:
        server.start()
    found = [answers.get(timeout=120) for _ in servers]
    for server in servers:
        server.join(30)
    assert [(job.id, state) for job in jobs if (state := Journal(store).get(job.id).state) != "done"] == []
    assert sum(ended for ended, _ in found) == 50
    assert sum(late for _, late in found) == 0
    for job in jobs:
        after = Journal(store).get(job.id)
        assert (after.state, after.crashes) == ("done", after.attempt - 1)
        assert len(History(store, tmp_path).of_job(job.id)) == 1
    died = sum(Journal(store).get(job.id).crashes for job in jobs)
    print(f"{kind}: 50 of 50 jobs once, {died} runs died on the way and 0 of their late results were taken")
    assert died > 0


def test_a_late_result_of_a_dead_run_changes_nothing(store: Store, journal: Journal, tmp_path: Path) -> None:
    (job,) = accept(journal)
    history = History(store, tmp_path)
    dead = journal.claim(job.id, "a:1:x")
    assert dead is not None
    assert journal.claim(job.id, "b:1:x") is None
    again = journal.crash(dead)
    assert again is not None
    assert (again.state, again.crashes) == ("queued", 1)
    alive = journal.claim(job.id, "b:1:x")
    assert alive is not None
    assert alive.attempt == 2
    assert not history.add(picture_of(dead, tmp_path), OWNER, attempt=dead.attempt)
    assert not journal.end(dead, "failed")
    assert not journal.pulse(dead).is_ours
    assert journal.release(dead) is None
    assert journal.crash(dead) is None
    mine = picture_of(alive, tmp_path)
    assert history.add(mine, OWNER, attempt=2)
    assert not history.add(picture_of(alive, tmp_path), OWNER, attempt=2)
    assert journal.end(alive, "done")
    assert not history.add(picture_of(alive, tmp_path), OWNER, attempt=2)
    assert [picture.id for picture in history.of_job(job.id)] == [mine.id]
    assert journal.get(job.id).state == "done"


def test_a_job_that_killed_two_workers_is_set_aside_and_says_so(journal: Journal) -> None:
    (job,) = accept(journal)
    for _ in range(2):
        claimed = journal.claim(job.id, "a:1:x")
        assert claimed is not None
        after = journal.crash(claimed)
    assert after is not None
    assert after.state == "failed"
    assert after.error is not None
    assert "killed 2" in (after.error["message"] or "")
    assert journal.claim(job.id, "a:1:x") is None
    # Its owner may insist, with a clean slate.
    again = journal.retry(job.id)
    assert again is not None
    assert (again.state, again.crashes, again.error) == ("queued", 0, None)


def test_a_finished_job_wins_over_a_late_cancel(journal: Journal) -> None:
    (job,) = accept(journal)
    claimed = journal.claim(job.id, "a:1:x")
    assert claimed is not None
    assert journal.wish(job.id, "stop") == 1
    assert journal.pulse(claimed).wish == "stop"
    assert journal.end(claimed, "done")
    assert journal.cancel_waiting(job.id) is None
    assert journal.wish(job.id, "stop") is None
    assert journal.get(job.id).state == "done"


def test_a_stale_cancel_never_hits_a_fresh_claim(journal: Journal) -> None:
    (job,) = accept(journal)
    first = journal.claim(job.id, "a:1:x")
    assert first is not None
    assert journal.wish(job.id, "stop") == 1
    assert journal.end(first, "cancelled")
    assert journal.retry(job.id) is not None
    second = journal.claim(job.id, "a:1:x")
    assert second is not None
    assert second.attempt == 2
    assert journal.pulse(second).wish is None
    assert not journal.end(first, "cancelled")
    assert journal.get(job.id).state == "running"


def test_who_stopped_a_job_whose_worker_then_dies_has_stopped_it(journal: Journal) -> None:
    for wish, state in (("stop", "cancelled"), ("pause", "paused")):
        (job,) = accept(journal)
        claimed = journal.claim(job.id, "a:1:x")
        assert claimed is not None
        journal.wish(job.id, wish)  # type: ignore[arg-type]
        after = journal.crash(claimed)
        assert after is not None
        assert after.state == state


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_run_whose_heart_stopped_is_taken_over_and_one_that_beats_is_not(journal: Journal) -> None:
    alive, dead = (journal.claim(job.id, "elsewhere:1:x") for job in accept(journal, 2))
    assert alive is not None
    assert dead is not None
    clock = Clock()
    leases = Leases("here:1:y", clock=clock, lease_s=10)
    for _ in range(12):
        assert leases.expired(journal.held()) == [] or clock.now > 1010
        clock.now += 1
        journal.pulse(alive)
    expired = leases.expired(journal.held())
    assert [one.job_id for one in expired] == [dead.id]
    # It beats after all, between the look and the deed.
    assert journal.pulse(dead).is_ours
    assert journal.crash(expired[0]) is None
    assert journal.get(dead.id).state == "running"


@pytest.mark.fault("clock, lock, folders")
@pytest.mark.parametrize("hours", [-24, 24])
def test_a_wall_clock_that_jumps_loses_and_doubles_nothing(hours: int, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock jumps by a day, back and forth, with one job running and one waiting"""
    import time

    first, second = accept(journal, 2)
    running = journal.claim(first.id, "elsewhere:1:x")
    assert running is not None
    leases = Leases("here:1:y")
    leases.expired(journal.held())
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)
    assert leases.expired(journal.held()) == []
    third = journal.accept(RECIPE, OWNER)
    assert [job.id for job in journal.open_jobs(OWNER)] == [first.id, second.id, third.id]
    assert journal.end(running, "done")


def test_a_dead_process_of_this_machine_is_known_at_once() -> None:
    own = holder_name()
    place, pid, _ = own.split(":")
    assert is_gone(None, own)
    assert is_gone(f"{place}:{pid}:before", own)
    assert is_gone(f"{place}:{2**22 + 1}:x", own)
    assert not is_gone(own, own)
    assert not is_gone(f"elsewhere:{2**22 + 1}:x", own)


def test_an_owners_jobs_are_moved_within_their_own_places(journal: Journal) -> None:
    a, b, c = accept(journal, 3)
    stranger = journal.accept(RECIPE, "visitor-other")
    journal.move(c.id, OWNER, before=a.id)
    assert [job.id for job in journal.open_jobs(OWNER)] == [c.id, a.id, b.id]
    for _ in range(60):
        journal.move(b.id, OWNER, before=c.id)
        journal.move(b.id, OWNER, before=None)
    assert [job.id for job in journal.open_jobs(OWNER)] == [c.id, a.id, b.id]
    with pytest.raises(NotFound):
        journal.move(stranger.id, OWNER, before=a.id)
    with pytest.raises(InvalidRequest):
        journal.move(a.id, OWNER, before=stranger.id)
    journal.claim(a.id, "a:1:x")
    with pytest.raises(NotFound):
        journal.move(a.id, OWNER, before=c.id)
