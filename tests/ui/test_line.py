"""Rows of the line as plain values, and the stream that tells a page of them."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine import Job, JobState, Paused, Progress, Queued, Recipe, Sheet
from engine.contract.sheet import Cell
from tests.studio import Studio
from ui.line import Heard, line_view

RECIPE = {
    "model": "starter", "model_hash": "0" * 64, "prompt": "a red castle", "negative_prompt": "", "steps": 20, "guidance_scale": 4, "scheduler": "ddim",
    "width": 256, "height": 192, "seed": 1,
}  # fmt: skip


def job(name: str, state: JobState = "queued", *, count: int = 1, skipped: tuple[int, ...] = (), error: dict[str, str | None] | None = None) -> Job:
    recipe = Recipe.model_validate({**RECIPE, "count": count})
    return Job(id=name, owner="ada", recipe=recipe, state=state, attempt=1, created_at=datetime.now(UTC), skipped=skipped, error=error)


def progress(name: str, picture: int, count: int) -> Progress:
    return Progress(name, picture, count, 5, 20, None)


def test_only_what_waits_can_move_and_only_where_there_is_room() -> None:
    heard = [Heard(job("a", "running"), progress("a", 0, 1)), *(Heard(job(name), Queued(name, at)) for at, name in enumerate("bcd", start=1))]
    rows = line_view(heard, [], None)
    assert [row["can"] for row in rows] == [["pause"], ["pause", "down"], ["pause", "up", "down"], ["pause", "up"]]
    assert [row["text"] for row in rows] == ["Step 5 of 20", "Next in line", "Number 2 in line", "Number 3 in line"]


def test_what_is_paused_can_go_on_and_a_failure_be_tried_again() -> None:
    failure = job("z", "failed", error={"message": "The disk is full.", "hint": "Free some space."})
    paused, failed = line_view([Heard(job("a", "paused"), Paused("a", 0, 7))], [failure], None)
    assert (paused["text"], paused["can"]) == ("Paused after step 7", ["resume"])
    assert (failed["text"], failed["can"]) == ("The disk is full. Free some space.", ["retry", "away"])


@pytest.mark.parametrize(
    ("event", "drawn", "skipped", "expected"),
    [
        (progress("a", 1, 4), {0}, (), 1),
        (progress("a", 1, 4), {0}, (1,), 2),
        (None, set(), (), 0),
        (None, {0, 1}, (2,), None),
    ],
)
def test_the_picture_that_can_be_skipped(event: Progress | None, drawn: set[int], skipped: tuple[int, ...], expected: int | None) -> None:
    (row,) = line_view([Heard(job("a", "running", count=4, skipped=skipped), event, drawn)], [], None)
    assert row["skip"] == expected


def test_one_picture_is_stopped_and_not_skipped() -> None:
    (row,) = line_view([Heard(job("a", "running"), progress("a", 0, 1))], [], None)
    assert row["skip"] is None


def test_the_cells_of_a_sheet_are_one_row() -> None:
    sheet = Sheet(
        id="s", owner="ada", kind="grid", columns=("a", "b", "c"), rows=("",), cells=tuple(Cell(label=name, values={}, job_id=name) for name in "abc")
    )
    heard = [Heard(job("b", "running")), Heard(job("c")), Heard(job("other"))]
    rows = line_view(heard, [job("a", "failed")], sheet)
    assert [(row["job"], row["text"]) for row in rows] == [("s", "1 of 3 done"), ("other", "Waiting")]
    assert "up" not in rows[1]["can"]


def test_hearing_changes_the_state_before_the_journal_is_read() -> None:
    heard = Heard(job("a"))
    assert heard.hear(progress("a", 0, 1))
    assert heard.job.state == "running"
    assert not heard.hear(progress("a", 0, 1))
    assert heard.hear(Paused("a", 0, 3))
    assert heard.job.state == "paused"


def told(studio: Studio, query: str, cookie: str) -> Iterator[dict[str, Any]]:
    """What the stream says, message by message."""
    with closing(http.client.HTTPConnection(studio.url.removeprefix("http://"), timeout=10)) as line:
        line.request("GET", f"/follow?{query}", headers={"Cookie": f"easel_visitor={cookie}"})
        answer = line.getresponse()
        assert (answer.status, answer.getheader("content-type")) == (200, "text/event-stream; charset=utf-8")
        while text := answer.readline():
            if text.startswith(b"data: "):
                yield json.loads(text[6:])


def test_a_page_that_shows_nothing_is_told_everything(studio: Studio) -> None:
    first = next(told(studio, "fresh=true", "n" * 43))
    assert first["stage"] == {"kind": "empty", "is_loaded": True}
    assert first["tray"] == {"pictures": [], "has_more": False, "shelf": 0, "bin": 0}
    assert first["line"] == []


def test_a_page_that_comes_back_is_not_told_what_it_shows(studio: Studio) -> None:
    for at in ("", "0" * 32, "sheet:" + "0" * 32, "../x", "x" * 200):
        assert "stage" not in next(told(studio, f"at={at}", "n" * 43)), at


def test_a_stream_that_is_silent_says_that_it_lives(studio: Studio) -> None:
    stream = told(studio, "fresh=true", "m" * 43)
    next(stream)
    assert next(stream) == {}


def test_without_a_visitor_there_is_no_stream(studio: Studio) -> None:
    with closing(http.client.HTTPConnection(studio.url.removeprefix("http://"), timeout=10)) as line:
        line.request("GET", "/follow?fresh=true")
        assert line.getresponse().status == 403


def test_open_pages_do_not_keep_a_studio_from_ending(tmp_path: Path) -> None:
    with Studio(tmp_path) as running:
        running.wait_ready()
        stream = told(running, "fresh=true", "n" * 43)
        next(stream)
        begin = time.monotonic()
        assert running.stop() == 0
        print(f"ended {time.monotonic() - begin:.1f} s after SIGTERM, with a page open")
        assert list(stream) in ([], [{}])
        assert not any("Traceback" in line for line in running.log)
