"""Run control through the door: pause and resume bit for bit, also over a restart; skip, retry, duplicate, move."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engine import Cancelled, Drawn, Engine, Finished, InvalidRequest, Job, NotFound, Paused, Progress, Settings, Skipped, TextToImage
from tests.conftest import OWNER, events_of

Make = Callable[..., TextToImage]


def open_studio(data: Path) -> Engine:
    return Engine(Settings(data=data, worker="inline", dtype="float32", device="cpu"))


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


def drawn(engine: Engine, job: Job) -> list[bytes]:
    ending = events_of(engine, job.id)[-1]
    assert isinstance(ending, Finished), ending
    return [pixels(picture.path) for picture in ending.pictures]


def pause_at(engine: Engine, job: Job, step: int, picture: int = 0) -> Paused:
    """Pause as soon as that step is done; the step at which it really was put aside is in the answer."""
    with engine.watch(job.id, owner=OWNER) as watch:
        for event in watch:
            if isinstance(event, Progress) and event.picture == picture and event.step >= step:
                engine.pause(job.id, OWNER)
            if isinstance(event, Paused):
                return event
    raise AssertionError("the job ended before it was paused")


SAMPLERS = ("euler_a", "dpmpp_2m", "heun", "dpmpp_2m_sde", "pndm", "sa_solver")


def test_paused_jobs_go_on_bit_for_bit_after_a_restart(tmp_path: Path, request_of: Make) -> None:
    """Six samplers, each paused in the middle; the device is free meanwhile; the studio is closed and opened again."""
    with open_studio(tmp_path) as engine:
        whole = {name: drawn(engine, engine.submit(request_of(scheduler=name, steps=30), OWNER)) for name in SAMPLERS}
        jobs: dict[str, Job] = {}
        for name in SAMPLERS:
            jobs[name] = engine.submit(request_of(scheduler=name, steps=30), OWNER)
            at = pause_at(engine, jobs[name], 10)
            assert 10 <= at.step < 30
        assert {job.state for job in engine.jobs(OWNER)} == {"paused"}
        assert len(list((tmp_path / "paused").glob("*.safetensors"))) == len(SAMPLERS)
        # Somebody else draws while they wait.
        assert drawn(engine, engine.submit(request_of(steps=1), OWNER))
    with open_studio(tmp_path) as engine:
        assert [job.state for job in engine.jobs(OWNER)] == ["paused"] * len(SAMPLERS)
        for name, job in jobs.items():
            assert engine.resume(job.id, OWNER)
            assert drawn(engine, job) == whole[name], name
        assert list((tmp_path / "paused").iterdir()) == []
        assert not engine.resume(job.id, OWNER)
        assert not engine.pause(job.id, OWNER)


def test_the_seconds_of_a_paused_picture_are_those_of_all_its_runs(tmp_path: Path, request_of: Make) -> None:
    with open_studio(tmp_path) as engine:
        job = engine.submit(request_of(steps=60), OWNER)
        pause_at(engine, job, 50)
        waited = time.monotonic()
        time.sleep(0.5)
        assert engine.resume(job.id, OWNER)
        drawn(engine, job)
        last_run = time.monotonic() - waited - 0.5
        (resumed,) = engine.pictures_of(job.id, OWNER)
        whole = engine.submit(request_of(steps=60), OWNER)
        drawn(engine, whole)
        (straight,) = engine.pictures_of(whole.id, OWNER)
    print(f"straight {straight.seconds:.2f} s, resumed {resumed.seconds:.2f} s, its last run at most {last_run:.2f} s")
    # A machine that is busy in between may take longer over either; a sixth of the steps is told from all of them.
    assert resumed.seconds > 0.4 * straight.seconds


def test_a_batch_is_paused_in_its_second_picture(tmp_path: Path, request_of: Make) -> None:
    with open_studio(tmp_path) as engine:
        whole = drawn(engine, engine.submit(request_of(scheduler="euler_a", steps=20, count=3), OWNER))
        job = engine.submit(request_of(scheduler="euler_a", steps=20, count=3), OWNER)
        at = pause_at(engine, job, 8, picture=1)
        assert at.picture == 1
        assert engine.resume(job.id, OWNER)
        events = []
        with engine.watch(job.id, owner=OWNER) as watch:
            events = list(watch)
        first = next(event for event in events if isinstance(event, Progress))
        assert first.picture == 1
        assert first.step > at.step
        assert [pixels(picture.path) for picture in events[-1].pictures] == whole  # type: ignore[union-attr]


def test_closing_puts_aside_what_runs_and_the_next_start_goes_on_there(tmp_path: Path, request_of: Make) -> None:
    with open_studio(tmp_path) as engine:
        whole = drawn(engine, engine.submit(request_of(scheduler="dpmpp_2m_sde", steps=120), OWNER))
        job = engine.submit(request_of(scheduler="dpmpp_2m_sde", steps=120), OWNER)
        with engine.watch(job.id, owner=OWNER) as watch:
            stopped = next(event.step for event in watch if isinstance(event, Progress) and event.step >= 15)
    engine = open_studio(tmp_path)
    (waiting,) = engine.jobs(OWNER)
    assert (waiting.id, waiting.state, waiting.crashes) == (job.id, "queued", 0)
    with engine.watch(job.id, owner=OWNER) as watch:
        engine.start()
        first = next(event for event in watch if isinstance(event, Progress))
        assert first.step > stopped
    assert drawn(engine, job) == whole
    engine.close()


def test_a_paused_file_that_is_damaged_costs_only_time(tmp_path: Path, request_of: Make) -> None:
    with open_studio(tmp_path) as engine:
        whole = drawn(engine, engine.submit(request_of(steps=20), OWNER))
        for damage in (b"", b"\xff" * 100, None):
            job = engine.submit(request_of(steps=20), OWNER)
            pause_at(engine, job, 5)
            (path,) = (tmp_path / "paused").glob("*.safetensors")
            path.unlink() if damage is None else path.write_bytes(damage)
            engine.resume(job.id, OWNER)
            assert drawn(engine, job) == whole


@pytest.mark.parametrize(("begun", "ended"), [("fp8", "everything"), ("everything", "fp8"), ("everything", "parts")])
def test_a_job_is_taken_up_under_another_memory_plan(tmp_path: Path, request_of: Make, begun: str, ended: str) -> None:
    """Half a picture of other numbers would be a picture that nobody could draw again: it is drawn whole, and its owner is told why."""
    with open_studio(tmp_path) as engine:
        engine.memory.choose(ended)
        job = engine.submit(request_of(steps=40), OWNER)
        (whole,) = drawn(engine, job)
        engine.memory.choose(begun)
        job = engine.submit(request_of(steps=40), OWNER)
        at = pause_at(engine, job, 5)
        engine.memory.choose(ended)
        engine.resume(job.id, OWNER)
        events = events_of(engine, job.id)
        ending = events[-1]
        assert isinstance(ending, Finished)
        (picture,) = ending.pictures
        assert pixels(picture.path) == whole
        assert picture.recipe.packing == ("fp8" if ended == "fp8" else None)
        first = min(event.step for event in events if isinstance(event, Progress))
        # A plan that only moves parts goes on where it was.
        is_anew = "fp8" in (begun, ended)
        assert (first <= at.step, bool(ending.note)) == (is_anew, is_anew)
        if begun == "fp8":
            assert ending.note == (
                "This picture was begun with weights in 8 bits; now they are as they were trained, so it is drawn from its beginning."
            )


def test_a_waiting_job_can_be_paused_and_is_passed_by(tmp_path: Path, request_of: Make) -> None:
    engine = open_studio(tmp_path)
    first, second = (engine.submit(request_of(seed=seed), OWNER) for seed in (1, 2))
    assert engine.pause(first.id, OWNER)
    with engine:
        assert drawn(engine, second)
        with engine.watch(first.id, owner=OWNER) as watch:
            assert watch.wait(5) == Paused(first.id, 0, 0)
            assert engine.resume(first.id, OWNER)
            assert isinstance(list(watch)[-1], Finished)
        third = engine.submit(request_of(seed=3), OWNER)
        engine.pause(third.id, OWNER)
        assert engine.cancel(third.id, owner=OWNER)
        assert isinstance(events_of(engine, third.id)[-1], Cancelled) or engine.jobs(OWNER) == []


def test_one_picture_of_a_batch_is_skipped_and_the_others_are_what_they_were(tmp_path: Path, request_of: Make) -> None:
    with open_studio(tmp_path) as engine:
        whole = drawn(engine, engine.submit(request_of(count=4, steps=20), OWNER))
        job = engine.submit(request_of(count=4, steps=20), OWNER)
        left_out: list[int] = []
        with engine.watch(job.id, owner=OWNER) as watch:
            for event in watch:
                if isinstance(event, Progress) and event.picture == 1 and event.step == 5:
                    assert engine.skip(job.id, 1, OWNER)
                    assert engine.skip(job.id, 3, OWNER)
                    assert not engine.skip(job.id, 0, OWNER)
                    assert not engine.skip(job.id, 4, OWNER)
                    assert not engine.skip(job.id, 2, "visitor-other")
                if isinstance(event, Skipped):
                    left_out.append(event.picture)
                if isinstance(event, Progress) and event.picture == 1:
                    assert event.step <= 7
        assert isinstance(event, Finished)
        assert [pixels(picture.path) for picture in event.pictures] == [whole[0], whole[2]]
        assert 1 in left_out
        assert not engine.skip(job.id, 2, OWNER)


def test_retry_keeps_the_id_and_the_pictures_and_duplicate_makes_a_new_job(tmp_path: Path, request_of: Make) -> None:
    with open_studio(tmp_path) as engine:
        whole = drawn(engine, engine.submit(request_of(count=3, steps=12), OWNER))
        job = engine.submit(request_of(count=3, steps=12), OWNER)
        with pytest.raises(InvalidRequest):
            engine.retry(job.id, OWNER)
        with engine.watch(job.id, owner=OWNER) as watch:
            next(event for event in watch if isinstance(event, Drawn))
            assert engine.cancel(job.id, owner=OWNER)
            ending = list(watch)[-1]
        assert isinstance(ending, Cancelled)
        kept = [picture.id for picture in ending.pictures]
        assert kept
        with pytest.raises(NotFound):
            engine.retry(job.id, "visitor-other")
        again = engine.retry(job.id, OWNER)
        assert again.id == job.id
        ending = events_of(engine, job.id)[-1]
        assert isinstance(ending, Finished)
        assert [picture.id for picture in ending.pictures][: len(kept)] == kept
        assert [pixels(picture.path) for picture in ending.pictures] == whole
        copy = engine.duplicate(job.id, OWNER)
        assert copy.id != job.id
        assert copy.recipe == job.recipe
        assert drawn(engine, copy) == whole


def test_an_owners_jobs_run_in_the_order_that_they_were_given(tmp_path: Path, request_of: Make) -> None:
    engine = open_studio(tmp_path)
    jobs = [engine.submit(request_of(seed=seed, steps=1), OWNER) for seed in range(4)]
    engine.move(jobs[3].id, before=jobs[1].id, owner=OWNER)
    engine.move(jobs[0].id, before=None, owner=OWNER)
    with pytest.raises(NotFound):
        engine.move(jobs[2].id, before=None, owner="visitor-other")
    assert [job.recipe.seed for job in engine.jobs(OWNER)] == [3, 1, 2, 0]
    with engine:
        for job in jobs:
            drawn(engine, job)
        assert [picture.seed for picture in reversed(engine.history(OWNER))] == [3, 1, 2, 0]


def test_a_pause_frees_the_device_within_a_step(tmp_path: Path, request_of: Make) -> None:
    with open_studio(tmp_path) as engine:
        long = engine.submit(request_of(steps=150), OWNER)
        other = engine.submit(request_of(steps=1), "visitor-other")
        with engine.watch(long.id, owner=OWNER) as watch:
            asked = next(event.step for event in watch if isinstance(event, Progress))
            began = time.monotonic()
            assert engine.pause(long.id, OWNER)
            put_aside = next(event for event in watch if isinstance(event, Paused))
        assert put_aside.step <= asked + 2
        assert isinstance(events_of(engine, other.id, "visitor-other")[-1], Finished)
        print(f"paused within {put_aside.step - asked} steps; somebody else's job was done {time.monotonic() - began:.1f} s later")
        engine.cancel(long.id, owner=OWNER)
        assert list((tmp_path / "paused").iterdir()) == []
