"""What an open page is told of its visitor's jobs, as a stream of events: the stage, the line, the results, endings.

The page follows and never owns. A stream that breaks is opened again by the page, which says what it last showed;
so a reload, a second tab and a phone that slept all see the same, within a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from engine import Cancelled, Engine, Event, Failed, Finished, Job, NotFound, Picture, Progress, Sheet, Watch
from ui.bell import Bell, Ear
from ui.line import Heard, line_view
from ui.owner import cookie_owner
from ui.sheets import is_open, sheet_view
from ui.stream import done_view, stage_view
from ui.tray import tray_view

SHEET = "sheet:"
# Another server may have changed something, or another program of the same visitor.
_LOOK_S = 1.0
_TRAY_LOOK_S = 5.0
_POLL_S = 0.04
# Eight frames a second are smooth for a forming picture and pass through a slow line.
_FRAME_S = 0.125
_SHEET_FRAME_S = 0.3
_BEAT_S = 4.0
_NEVER = float("-inf")
Message = dict[str, Any]
Ended = tuple[Job, Finished | Cancelled | Failed]


def add_following(app: FastAPI, engine: Engine, bell: Bell) -> None:
    @app.get("/follow")
    async def follow(request: Request, at: str = "", fresh: bool = False) -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        """Server-sent events for the visitor's own page. `at` is the job or sheet that it shows as busy; `fresh`, that it shows nothing yet."""
        lines = _lines(engine, bell, cookie_owner(request), at=at[:64], is_fresh=fresh)
        # Proxies that gather an answer before they pass it on would turn the stream into a pond.
        return StreamingResponse(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def _lines(engine: Engine, bell: Bell, owner: str, *, at: str, is_fresh: bool) -> AsyncIterator[str]:
    with bell.hear(owner) as ear, Following(engine, owner, at=at, is_fresh=is_fresh) as following:
        async for message in following.messages(ear):
            yield f"data: {json.dumps(message)}\n\n"


class Following:
    """One page's view of its visitor's jobs. Leaving it ends the watching, never a job."""

    def __init__(self, engine: Engine, owner: str, *, at: str, is_fresh: bool) -> None:
        self._engine, self._owner = engine, owner
        self._at, self._is_fresh = at, is_fresh
        self._open: dict[str, Heard] = {}
        self._watches: dict[str, Watch] = {}
        self._failures: list[Job] = []
        self._sheet: Sheet | None = None
        # What the stage follows: a job's id, or "sheet:" and a sheet's.
        self._focus: str | None = None
        # What was sent last, and when.
        self._event: object = None
        self._line: list[Message] | None = None
        self._tray: Message | None = None
        self._sent_s = self._tray_looked_s = _NEVER
        # Ends the waiting for the next look.
        self._stir: Callable[[], None] = lambda: None

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        for watch in self._watches.values():
            watch.close()

    async def messages(self, ear: Ear) -> AsyncIterator[Message]:
        """Until the studio ends; each holds only what has changed."""
        self._stir = ear.stir
        looked_s = said_s = _NEVER
        is_woken = True
        while not ear.is_over:
            endings, has_news = self._hear()
            is_woken = is_woken or has_news or bool(endings)
            message: Message = {}
            if is_woken or time.monotonic() - looked_s >= _LOOK_S:
                message |= await run_in_threadpool(self._look, {job.id for job, _ in endings}, is_woken=is_woken)
                looked_s = time.monotonic()
            message |= await run_in_threadpool(self._stage, endings) if self._has_view(endings) else {}
            message |= self._ended(endings)
            line = line_view(list(self._open.values()), self._failures, self._sheet)
            if line != self._line and (_shape(line) != _shape(self._line) or "stage" in message):
                message["line"] = self._line = line
            if message or time.monotonic() - said_s >= _BEAT_S:
                yield message
                said_s = time.monotonic()
            is_woken = await ear.wait(_POLL_S if self._open else _LOOK_S)

    # What has happened

    def _hear(self) -> tuple[list[Ended], bool]:
        """Take what the watches hold: endings, whose jobs are followed no longer, and whether anything else is news."""
        endings: list[Ended] = []
        has_news = False
        for name, watch in list(self._watches.items()):
            while (event := watch.take()) is not None:
                if isinstance(event, (Finished, Cancelled, Failed)):
                    endings.append((self._open.pop(name).job, event))
                    self._watches.pop(name).close()
                    break
                has_news = self._open[name].hear(event) or has_news
        return endings, has_news

    def _look(self, over: set[str], *, is_woken: bool) -> Message:
        """Read the journal: jobs that are new, their order; the results, if they may have changed."""
        engine, owner = self._engine, self._owner
        found: dict[str, Heard] = {}
        for job in engine.jobs(owner):
            if job.id in over:
                continue
            if (heard := self._open.pop(job.id, None)) is None:
                drawn = {picture.index for picture in engine.pictures_of(job.id, owner)}
                self._watches[job.id], heard = engine.watch(job.id, owner=owner), Heard(job, drawn=drawn)
                self._watches[job.id].listen(self._told)
            heard.job = job
            found[job.id] = heard
        # Over, but not said yet: their ending is on its way.
        self._open = found | self._open
        self._failures = engine.failures(owner)
        if is_woken:
            self._sheet = engine.sheets.newest(owner)
        if not is_woken and time.monotonic() - self._tray_looked_s < _TRAY_LOOK_S:
            return {}
        self._tray_looked_s = time.monotonic()
        before, self._tray = self._tray, tray_view(engine, owner)
        return {} if self._tray == before else {"tray": self._tray}

    def _told(self, event: Event) -> None:
        """Steps are looked at in a page's own pace; all else is shown at once."""
        if not isinstance(event, Progress):
            self._stir()

    def _ended(self, endings: list[Ended]) -> Message:
        """For a sound or a word of the browser: once for each job, and once for a whole sheet."""
        heard = [event for job, event in endings if not self._is_of_sheet(job.id) or not self._has_open_cells()]
        if not heard:
            return {}
        kind = "done" if isinstance(heard[-1], Finished) else "failed" if isinstance(heard[-1], Failed) else "stopped"
        left = sum(one.job.state != "paused" for one in self._open.values())
        return {"ended": {"kind": kind, "left": left}}

    # What the stage shows

    def _has_view(self, endings: list[Ended]) -> bool:
        if self._is_fresh or self._at or endings:
            return True
        pace = _SHEET_FRAME_S if (self._focus or "").startswith(SHEET) else _FRAME_S
        return self._choose() != self._focus or (self._focus is not None and time.monotonic() - self._sent_s >= pace)

    def _stage(self, endings: list[Ended]) -> Message:
        """What the stage has to show anew."""
        if self._is_fresh:
            self._is_fresh, self._at = False, ""
            self._focus = self._choose() or next(iter(self._open), None)
            return {"stage": self._frame(self._focus, is_new=True) if self._focus else self._newest()}
        if self._at:
            at, self._at = self._at, ""
            self._focus = at if at in self._open else self._choose()
            if (view := self._since(at)) is not None:
                return {"stage": view}
        for job, event in endings:
            if job.id == self._focus:
                self._focus = None
                return {"stage": stage_view(event, self._engine.secret, job.recipe)}
        before, self._focus = self._focus, self._choose()
        if before is not None and before.startswith(SHEET) and self._focus != before:
            view = self._since(before)
        else:
            view = None if self._focus is None else self._frame(self._focus, is_new=self._focus != before)
        return {} if view is None else {"stage": view}

    def _choose(self) -> str | None:
        """The stage stays with what it follows until that is over; what is put aside gives way to what runs or waits."""
        focus = self._focus
        if focus is not None and focus.startswith(SHEET) and self._sheet is not None and focus == SHEET + self._sheet.id and self._has_open_cells():
            return focus
        states = {name: one.job.state for name, one in self._open.items()}
        if focus in states and states[focus] != "paused":
            return focus
        for state in ("running", "queued"):
            if (found := next((name for name, its in states.items() if its == state), None)) is not None:
                return SHEET + self._sheet.id if self._sheet is not None and self._is_of_sheet(found) else found
        return focus if focus in states else None

    def _frame(self, focus: str, *, is_new: bool) -> Message | None:
        """The newest state of what the stage follows; None where it is shown already."""
        self._sent_s = time.monotonic()
        if focus.startswith(SHEET):
            assert self._sheet is not None
            progress = next((one.event for one in self._open.values() if self._is_of_sheet(one.job.id) and isinstance(one.event, Progress)), None)
            return sheet_view(self._sheet, self._engine.sheets.cells(self._sheet), self._engine.secret, progress)
        heard = self._open[focus]
        before, self._event = self._event, heard.event
        if heard.event is before and not is_new:
            return None
        waiting = {"kind": "waiting", "job": focus, "prompt": heard.job.recipe.prompt, "text": "Taking your words"}
        return (stage_view(heard.event, self._engine.secret, heard.job.recipe) if heard.event else None) or waiting

    def _newest(self) -> Message:
        """For a page that shows nothing yet while nothing runs: what came last, else the examples."""
        newest = self._engine.history(self._owner, 1)
        if self._sheet and newest and self._is_of_sheet(newest[0].job_id):
            return sheet_view(self._sheet, self._engine.sheets.cells(self._sheet), self._engine.secret)
        return done_view(self._batch_of(newest[0]), self._engine.secret) if newest else {"kind": "empty", "is_loaded": True}

    def _batch_of(self, picture: Picture) -> list[Picture]:
        """Those of its job that are not thrown away; itself alone where the job is forgotten."""
        try:
            drawn = self._engine.pictures_of(picture.job_id, self._owner)
        except NotFound:
            drawn = []
        return [one for one in drawn if not one.is_binned] or [picture]

    def _since(self, at: str) -> Message | None:
        """What became of what the page showed; None while that still goes on, and for what is not here."""
        engine, owner = self._engine, self._owner
        try:
            if at.startswith(SHEET):
                sheet = engine.sheets.get(at.removeprefix(SHEET), owner)
                cells = engine.sheets.cells(sheet)
                return None if is_open(cells) else sheet_view(sheet, cells, engine.secret)
            job = engine.job(at, owner)
            if not job.is_over:
                return None
            with engine.watch(at, owner=owner) as watch:
                event = watch.take()
            return None if event is None else stage_view(event, engine.secret, job.recipe)
        except NotFound:
            return None

    def _is_of_sheet(self, job_id: str) -> bool:
        return self._sheet is not None and any(cell.job_id == job_id for cell in self._sheet.cells)

    def _has_open_cells(self) -> bool:
        return any(self._is_of_sheet(name) for name in self._open)


def _shape(line: list[Message] | None) -> list[Any] | None:
    """What of the rows is told at once: steps and seconds go at the pace of the stage's frames."""
    return None if line is None else [(row["job"], row["state"], row["can"], row.get("skip")) for row in line]
