"""Stop and keep what there is: a picture of its own, made again by its recipe; the job itself can still be drawn whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engine import Cancelled, Engine, Finished, Job, Progress, Settings, TextToImage
from engine.library.metadata import read_recipe
from tests.conftest import OWNER, events_of

Make = Callable[..., TextToImage]


def stop_at(engine: Engine, job: Job, step: int, *, keep: bool, picture: int = 0) -> Cancelled:
    is_asked = False
    with engine.watch(job.id, owner=OWNER) as watch:
        for event in watch:
            if not is_asked and isinstance(event, Progress) and event.picture == picture and event.step >= step:
                is_asked = engine.cancel(job.id, owner=OWNER, keep=keep)
            if isinstance(event, Cancelled):
                return event
    raise AssertionError("the job ended before it was stopped")


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


@pytest.mark.parametrize("worker", ["inline", "process"])
def test_what_was_kept_is_made_again_by_its_recipe(tmp_path: Path, request_of: Make, worker: str) -> None:
    with Engine(Settings(data=tmp_path, worker=worker, dtype="float32", device="cpu")) as engine:  # type: ignore[arg-type]
        job = engine.submit(request_of(steps=150), OWNER)
        ending = stop_at(engine, job, 5, keep=True)
        (kept,) = ending.pictures
        calls = kept.recipe.stopped_after_calls
        assert calls == ending.step
        assert 5 <= calls < 150
        assert read_recipe(kept.path) == kept.recipe
        assert engine.history(OWNER) == [kept]
        assert engine.job(job.id, OWNER).state == "cancelled"
        # The half-done picture again, from what its file says.
        again = engine._journal.accept(kept.recipe, OWNER)  # pyright: ignore[reportPrivateUsage]
        engine._dispatcher.add(again)  # pyright: ignore[reportPrivateUsage]
        second = events_of(engine, again.id)[-1]
        assert isinstance(second, Finished)
        assert pixels(second.pictures[0].path) == pixels(kept.path)
        # The whole one is another picture, and the same as if nobody had stopped it.
        engine.retry(job.id, OWNER)
        whole = events_of(engine, job.id)[-1]
        fresh = events_of(engine, engine.submit(request_of(steps=150), OWNER).id)[-1]
        assert isinstance(whole, Finished)
        assert isinstance(fresh, Finished)
        assert len(whole.pictures) == 1
        assert pixels(whole.pictures[0].path) == pixels(fresh.pictures[0].path) != pixels(kept.path)
        # Somebody who comes late is told of the whole one only.
        assert events_of(engine, job.id)[-1].pictures == whole.pictures  # type: ignore[union-attr]


def test_stopping_without_that_wish_keeps_nothing(inline_engine: Engine, request_of: Make) -> None:
    job = inline_engine.submit(request_of(steps=150), OWNER)
    assert stop_at(inline_engine, job, 5, keep=False).pictures == ()
    assert inline_engine.history(OWNER) == []


def test_what_waits_has_nothing_to_keep(inline_engine: Engine, request_of: Make) -> None:
    first, second = (inline_engine.submit(request_of(steps=60), OWNER) for _ in range(2))
    assert inline_engine.cancel(second.id, owner=OWNER, keep=True)
    assert events_of(inline_engine, second.id)[-1] == Cancelled(second.id, 0, ())
    inline_engine.cancel(first.id, owner=OWNER)
    events_of(inline_engine, first.id)


def test_of_a_batch_the_finished_ones_and_the_half_done_one_stay(inline_engine: Engine, request_of: Make) -> None:
    job = inline_engine.submit(request_of(steps=150, count=3), OWNER)
    ending = stop_at(inline_engine, job, 10, keep=True, picture=1)
    assert [picture.recipe.stopped_after_calls is None for picture in ending.pictures] == [True, False]
    assert ending.pictures[1].seed == job.recipe.seed + 1
    # Stopped and kept twice: two results, none in the way of the other.
    inline_engine.retry(job.id, OWNER)
    again = stop_at(inline_engine, job, 5, keep=True, picture=1)
    assert len(again.pictures) == 2
    assert inline_engine.tray(OWNER).shelf == 3


def test_only_the_mask_is_half_done(inline_engine: Engine, tmp_path: Path) -> None:
    import io

    import numpy as np

    from engine import parse_request

    source = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    files = []
    for image in (source, mask):
        target = io.BytesIO()
        image.save(target, "PNG")
        files.append(target.getvalue())
    brought = inline_engine.add_input(files[0], OWNER)
    painted = inline_engine.add_mask(brought.hash, files[1], OWNER)
    values = {"mode": "inpaint", "prompt": "a castle", "steps": 150, "strength": 1, "source": brought.hash, "mask": painted.hash, "feather": 0}
    (kept,) = stop_at(inline_engine, inline_engine.submit(parse_request(values), OWNER), 5, keep=True).pictures
    with Image.open(kept.path) as image:
        outside = np.asarray(mask) == 0
        assert (np.asarray(image)[outside] == np.asarray(source)[outside]).all()
        assert (np.asarray(image)[~outside] != np.asarray(source)[~outside]).any()
