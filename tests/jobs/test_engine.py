"""Through the door: one ending for every job, equal pictures for equal recipes, owners kept apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import Busy, Cancelled, Drawn, Engine, Failed, Finished, ModelNotFound, NotFound, Progress, Queued, Settings, TextToImage
from engine.library.metadata import read_recipe
from tests.conftest import OWNER, events_of

Make = Callable[..., TextToImage]


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


def draw(engine: Engine, request: TextToImage) -> Finished:
    ending = events_of(engine, engine.submit(request, OWNER).id)[-1]
    assert isinstance(ending, Finished), ending
    return ending


def test_a_picture_from_words(inline_engine: Engine, request_of: Make) -> None:
    job = inline_engine.submit(request_of(), OWNER)
    events = events_of(inline_engine, job.id)
    assert [type(event) for event in events[-2:]] == [Drawn, Finished]
    assert sum(isinstance(event, Finished) for event in events) == 1
    picture = inline_engine.history(OWNER)[0]
    assert picture.path.is_file()
    assert read_recipe(picture.path) == job.recipe.for_picture(0)
    assert inline_engine.jobs(OWNER) == []


def test_the_same_recipe_gives_the_same_bytes(inline_engine: Engine, request_of: Make) -> None:
    first, second = (draw(inline_engine, request_of(scheduler="euler_a")) for _ in range(2))
    assert pixels(first.pictures[0].path) == pixels(second.pictures[0].path)


def test_a_picture_of_a_batch_equals_it_alone(inline_engine: Engine, request_of: Make) -> None:
    batch = draw(inline_engine, request_of(count=3, scheduler="euler_a"))
    assert [picture.seed for picture in batch.pictures] == [7, 8, 9]
    alone = draw(inline_engine, request_of(seed=9, scheduler="euler_a"))
    assert pixels(batch.pictures[2].path) == pixels(alone.pictures[0].path)
    assert pixels(batch.pictures[0].path) != pixels(batch.pictures[1].path)


def test_the_recipe_in_the_file_makes_the_picture_again(inline_engine: Engine, request_of: Make) -> None:
    first = draw(inline_engine, request_of(seed=None, negative_prompt="blurry"))
    again = draw(inline_engine, read_recipe(first.pictures[0].path).to_request())
    assert pixels(first.pictures[0].path) == pixels(again.pictures[0].path)


def test_stop_ends_within_a_step_and_leaves_the_model_clean(inline_engine: Engine, request_of: Make) -> None:
    before = draw(inline_engine, request_of())
    job = inline_engine.submit(request_of(steps=150), OWNER)
    with inline_engine.watch(job.id, owner=OWNER) as watch:
        for event in watch:
            if isinstance(event, Progress):
                stopped_at = event.step
                assert inline_engine.cancel(job.id, owner=OWNER)
                break
        rest = list(watch)
    steps = [event.step for event in rest if isinstance(event, Progress)]
    assert max(steps, default=stopped_at) <= stopped_at + 2
    assert isinstance(rest[-1], Cancelled)
    assert sum(isinstance(event, (Cancelled, Finished, Failed)) for event in rest) == 1
    assert not inline_engine.cancel(job.id, owner=OWNER)
    assert isinstance(events_of(inline_engine, job.id)[-1], Cancelled)
    after = draw(inline_engine, request_of())
    assert pixels(before.pictures[0].path) == pixels(after.pictures[0].path)


def test_a_waiting_job_can_be_stopped(inline_engine: Engine, request_of: Make) -> None:
    long = inline_engine.submit(request_of(steps=100), OWNER)
    waiting = inline_engine.submit(request_of(), OWNER)
    assert inline_engine.cancel(waiting.id, owner=OWNER)
    ending = events_of(inline_engine, waiting.id)[-1]
    assert ending == Cancelled(waiting.id, 0, ())
    inline_engine.cancel(long.id, owner=OWNER)
    events_of(inline_engine, long.id)


def test_nobody_sees_or_stops_a_strangers_job(inline_engine: Engine, request_of: Make) -> None:
    job = inline_engine.submit(request_of(), OWNER)
    with pytest.raises(NotFound):
        inline_engine.watch(job.id, owner="visitor-other")
    assert not inline_engine.cancel(job.id, owner="visitor-other")
    picture = next(e for e in events_of(inline_engine, job.id) if isinstance(e, Drawn)).picture
    with pytest.raises(NotFound):
        inline_engine.picture(picture.id, "visitor-other")
    assert inline_engine.history("visitor-other") == []


def test_what_cannot_run_is_refused_and_not_queued(inline_engine: Engine, request_of: Make) -> None:
    with pytest.raises(ModelNotFound):
        inline_engine.submit(request_of(model="nothing"), OWNER)
    assert inline_engine.jobs(OWNER) == []


def test_the_limit_of_one_visitor(tmp_path: Path, request_of: Make) -> None:
    with Engine(Settings(data=tmp_path, worker="inline", queue_limit=2)) as engine:
        jobs = [engine.submit(request_of(steps=100), OWNER) for _ in range(2)]
        with pytest.raises(Busy):
            engine.submit(request_of(), OWNER)
        engine.submit(request_of(), "visitor-other")
        for job in reversed(jobs):
            engine.cancel(job.id, owner=OWNER)


def test_a_restart_takes_up_what_was_waiting(tmp_path: Path, request_of: Make) -> None:
    settings = Settings(data=tmp_path, worker="inline")
    engine = Engine(settings)
    jobs = [engine.submit(request_of(seed=seed), OWNER) for seed in range(3)]
    engine.close()
    with Engine(settings) as engine:
        assert [job.id for job in engine.jobs(OWNER)][-1] == jobs[-1].id
        for job in jobs:
            assert isinstance(events_of(engine, job.id)[-1], Finished)
        assert len(engine.history(OWNER)) == 3


def test_a_job_asked_for_before_the_start_runs_once(tmp_path: Path, request_of: Make) -> None:
    engine = Engine(Settings(data=tmp_path, worker="inline"))
    try:
        first, second = (engine.submit(request_of(seed=seed), OWNER) for seed in (1, 2))
        with engine.watch(second.id, owner=OWNER) as watch:
            engine.start()
            events = list(watch)
        # Queued twice, there would be a third place in line. A newer word about the place may have overtaken an older one.
        assert all(event.position <= 2 for event in events if isinstance(event, Queued))
        assert isinstance(events_of(engine, first.id)[-1], Finished)
        assert [picture.seed for picture in engine.history(OWNER)] == [2, 1]
        assert engine.health().queued == 0
    finally:
        engine.close()


def test_odd_prompts_run(inline_engine: Engine, request_of: Make) -> None:
    for prompt in ("🏰", "замок", "word " * 700, "<script>"):
        ending = draw(inline_engine, request_of(prompt=prompt, steps=1))
        assert ending.pictures[0].recipe.prompt == prompt


def test_after_a_stop_the_worker_draws_the_next_job_whole(tmp_path: Path, request_of: Make) -> None:
    with Engine(Settings(data=tmp_path)) as engine:
        for _ in range(2):
            job = engine.submit(request_of(steps=200), OWNER)
            with engine.watch(job.id, owner=OWNER) as watch:
                next(event for event in watch if isinstance(event, Progress))
                engine.cancel(job.id, owner=OWNER)
                assert isinstance(list(watch)[-1], Cancelled)
            assert len(draw(engine, request_of()).pictures) == 1


def test_a_picture_that_cannot_be_kept_fails_its_job_only(tmp_path: Path, request_of: Make) -> None:
    with Engine(Settings(data=tmp_path)) as engine:
        (tmp_path / "images").write_text("a file where the folder should be")
        ending = events_of(engine, engine.submit(request_of(count=4, steps=20), OWNER).id)[-1]
        assert isinstance(ending, Failed)
        assert ending.error.message.startswith("The picture could not be written")
        (tmp_path / "images").unlink()
        assert len(draw(engine, request_of()).pictures) == 1


def test_two_seeds_are_two_pictures(inline_engine: Engine, request_of: Make) -> None:
    a, b = (draw(inline_engine, request_of(seed=seed)) for seed in (1, 2))
    with Image.open(a.pictures[0].path) as x, Image.open(b.pictures[0].path) as y:
        assert np.abs(np.asarray(x, int) - np.asarray(y, int)).mean() > 2
