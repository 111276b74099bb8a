"""The tray below the page: pages over hundreds of pictures, the bin, and emptying it for good."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from engine import Busy, Engine, Finished, NotFound, Settings, TextToImage
from tests.conftest import OWNER, events_of
from tests.pictures_in_bulk import list_again

Make = Callable[..., TextToImage]


def draw(engine: Engine, request: TextToImage, owner: str = OWNER) -> list[str]:
    ending = events_of(engine, engine.submit(request, owner).id, owner)[-1]
    assert isinstance(ending, Finished)
    return [picture.id for picture in ending.pictures]


def ids(engine: Engine, *, in_bin: bool = False, size: int = 60) -> list[str]:
    """Every page, one after the other."""
    found: list[str] = []
    while page := engine.history(OWNER, size, after=found[-1] if found else None, in_bin=in_bin):
        assert len(page) <= size
        found += [picture.id for picture in page]
    return found


def test_pages_hold_each_picture_once_and_newest_first(inline_engine: Engine, tmp_path: Path, request_of: Make) -> None:
    first = draw(inline_engine, request_of(steps=1))
    made = list_again(tmp_path, 300)
    wanted = [*reversed(made), *first]
    assert ids(inline_engine) == wanted
    assert ids(inline_engine, size=7) == wanted
    # A picture that is thrown away or destroyed between two pages neither hides nor repeats another.
    page = [picture.id for picture in inline_engine.history(OWNER, 50)]
    inline_engine.throw_away([page[-1]], OWNER)
    inline_engine.empty_bin(OWNER)
    rest = [picture.id for picture in inline_engine.history(OWNER, 500, after=page[-1])]
    assert page + rest == wanted
    assert inline_engine.history(OWNER, 10, after="f" * 32) == []
    assert inline_engine.tray(OWNER).shelf == 300


def test_pages_of_the_same_moment_lose_nothing(inline_engine: Engine, tmp_path: Path, request_of: Make) -> None:
    draw(inline_engine, request_of(steps=1))
    list_again(tmp_path, 40)
    store = inline_engine._store  # pyright: ignore[reportPrivateUsage]
    from sqlalchemy import text

    with store.begin() as db:
        db.execute(text("UPDATE pictures SET created_at = 5"))
    assert len(set(ids(inline_engine, size=7))) == 41


def test_to_the_bin_and_back_in_its_old_place(inline_engine: Engine, request_of: Make) -> None:
    made = draw(inline_engine, request_of(steps=1, count=3))
    before = ids(inline_engine)
    assert inline_engine.throw_away([made[1], made[1], "f" * 32], OWNER) == 1
    assert inline_engine.throw_away([made[1]], OWNER) == 0
    assert ids(inline_engine) == [name for name in before if name != made[1]]
    assert ids(inline_engine, in_bin=True) == [made[1]]
    assert inline_engine.picture(made[1], OWNER).is_binned
    assert inline_engine.picture(made[1], OWNER).path.is_file()
    assert inline_engine.bring_back([made[1]], OWNER) == 1
    assert ids(inline_engine) == before
    assert ids(inline_engine, in_bin=True) == []


def test_a_stranger_moves_nothing(inline_engine: Engine, request_of: Make) -> None:
    (made,) = draw(inline_engine, request_of(steps=1))
    assert inline_engine.throw_away([made], "visitor-stranger") == 0
    inline_engine.throw_away([made], OWNER)
    assert inline_engine.bring_back([made], "visitor-stranger") == 0
    assert inline_engine.empty_bin("visitor-stranger") == 0
    assert inline_engine.history("visitor-stranger", in_bin=True) == []
    assert inline_engine.history("visitor-stranger", after=made) == []
    assert ids(inline_engine, in_bin=True) == [made]


def test_emptying_destroys_files_and_keeps_the_count_of_the_hour(tmp_path: Path, request_of: Make) -> None:
    with Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu", device_seconds_per_hour=0.0001)) as engine:
        made = draw(engine, request_of(steps=1, count=2))
        path = engine.picture(made[0], OWNER).path
        counts = engine.counts()
        engine.throw_away(made[:1], OWNER)
        assert engine.empty_bin(OWNER) == 1
        assert not path.exists()
        with pytest.raises(NotFound):
            engine.picture(made[0], OWNER)
        with pytest.raises(NotFound):
            engine.thumbnail(made[0])
        assert ids(engine) == made[1:]
        assert ids(engine, in_bin=True) == []
        # Nobody draws more by deleting, and the counters of whoever runs the studio never go back.
        assert engine.counts() == counts
        with pytest.raises(Busy, match="in this hour"):
            engine.submit(request_of(steps=1), OWNER)


def test_a_full_shelf_has_room_again_once_the_bin_is_empty(tmp_path: Path, request_of: Make) -> None:
    with Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu", picture_limit=2)) as engine:
        made = draw(engine, request_of(steps=1, count=2))
        engine.throw_away(made, OWNER)
        with pytest.raises(Busy, match="empty the bin"):
            engine.submit(request_of(steps=1), OWNER)
        engine.empty_bin(OWNER)
        assert draw(engine, request_of(steps=1, count=2))


def test_a_thumbnail_is_small_and_square(inline_engine: Engine, request_of: Make) -> None:
    (made,) = draw(inline_engine, request_of(steps=1, width=192, height=64))
    small = inline_engine.thumbnail(made)
    with Image.open(io.BytesIO(small)) as image:
        assert (image.format, image.size) == ("JPEG", (224, 224))
    assert len(small) < 20_000


def test_a_picture_in_the_bin_leaves_its_sheet(inline_engine: Engine, request_of: Make) -> None:
    sheet = inline_engine.sheets.dataset({"prompt": "a {red|blue} ship", "steps": 1, "width": 64, "height": 64}, OWNER)
    for cell in sheet.cells:
        events_of(inline_engine, cell.job_id or "")
    first = inline_engine.sheets.cells(sheet)[0].pictures[0]
    inline_engine.throw_away([first.id], OWNER)
    assert [len(view.pictures) for view in inline_engine.sheets.cells(sheet)] == [0, 1]


def test_a_failure_is_shown_until_it_is_put_away_or_tried_again(inline_engine: Engine, request_of: Make) -> None:
    from engine import OutOfMemory

    jobs = [inline_engine.submit(request_of(steps=1), OWNER) for _ in range(2)]
    for job in jobs:
        events_of(inline_engine, job.id)
    assert inline_engine.failures(OWNER) == []
    journal = inline_engine._journal  # pyright: ignore[reportPrivateUsage]
    failed = [journal.accept(job.recipe, OWNER) for job in jobs]
    for job in failed:
        assert journal.end(journal.claim(job.id, "nobody") or job, "failed", error=OutOfMemory("There is no memory.", "Try it smaller."))
    assert [job.id for job in inline_engine.failures(OWNER)] == [failed[1].id, failed[0].id]
    assert inline_engine.failures("visitor-stranger") == []
    assert not inline_engine.put_away(failed[0].id, "visitor-stranger")
    assert inline_engine.put_away(failed[0].id, OWNER)
    inline_engine.retry(failed[1].id, OWNER)
    assert isinstance(events_of(inline_engine, failed[1].id)[-1], Finished)
    assert inline_engine.failures(OWNER) == []
    assert not inline_engine.put_away(jobs[0].id, OWNER)


def test_a_copy_with_a_new_seed_differs_in_its_seed_only(inline_engine: Engine, request_of: Make) -> None:
    job = inline_engine.submit(request_of(steps=1), OWNER)
    same, other = inline_engine.duplicate(job.id, OWNER), inline_engine.duplicate(job.id, OWNER, new_seed=True)
    assert same.recipe == job.recipe
    assert other.recipe.seed != job.recipe.seed
    assert other.recipe.model_copy(update={"seed": job.recipe.seed}) == job.recipe
    assert isinstance(events_of(inline_engine, other.id)[-1], Finished)
