"""Models on their way here: one at a time behind the page, the others in line. Whoever looks sees where each stands; nobody has to look."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.contract.downloads import Download, DownloadState
from engine.contract.errors import Busy, EngineError, NotFound
from engine.contract.hub import HubModel, Precision
from engine.library.hub_models import FIELD, HubModels, Stopped
from engine.library.room import free_bytes

log = logging.getLogger("easel.engine")
# The speed is that of the last seconds: a line that has become slow is soon told so.
_WINDOW_S = 8.0
_TELLING_BYTES = 1_000_000
_LOOKS_MAX = 24
_BUG = "It failed, and the studio's log says why."


@dataclass
class _Item:
    """One download of this studio's life. Only its own worker writes `here`."""

    plan: HubModel
    state: DownloadState = "waiting"
    here: int = 0
    error: str = ""
    is_unwanted: bool = False
    stop: threading.Event = field(default_factory=threading.Event)
    heard: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def hear(self, here: int, total: int) -> None:
        now = time.monotonic()
        self.here = here
        if here >= total:
            self.state = "checking"
        if not self.heard or now - self.heard[-1][0] > 0.2:
            self.heard.append((now, here))
            while now - self.heard[0][0] > _WINDOW_S:
                self.heard.popleft()


class Downloads:
    """The line, for an operator. What was begun before this studio started is in it as "stopped", until somebody goes on with it or removes it."""

    def __init__(self, models: HubModels) -> None:
        self._models = models
        self._items: dict[str, _Item] = {}
        self._looked: dict[tuple[str, Precision], HubModel] = {}
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        # What the thread is at, until what is left of it is put in order.
        self._at_work: _Item | None = None
        self._is_closed = False

    def look(self, name: str, precision: Precision = "half") -> HubModel:
        """What a hub id ("owner/name", with "@revision" or as the address of its page) means now: nothing of its weights is fetched.

        It asks the hub a dozen times: call it in a thread. Raises as `HubModels.look` does.
        """
        plan = self._models.look(name, precision)
        with self._wake:
            self._looked[plan.id, precision] = plan
            while len(self._looked) > _LOOKS_MAX:
                self._looked.pop(next(iter(self._looked)))
        return plan

    def start(self, name: str, precision: Precision = "half") -> Download:
        """Put a model into the line that somebody has looked at and agreed to, by the id of that look. Raises `EngineError` where it cannot begin.

        It comes behind the page; once it is whole and judged it is among the studio's models.
        """
        # Looked at a moment ago; or, since a commit always means the same, before this start.
        plan = self._looked.get((name, precision)) or self.look(name, precision)
        if plan.id != name:
            raise NotFound(f"{name[:100]!r} names no commit.", "Look it up first, and agree to what you see.", FIELD)
        return self.begin(plan)

    def fetch(self, plan: HubModel, report: Callable[[int, int], None] | None = None) -> Path:
        """The same at once, for a terminal: its folder is whole when this returns. What a broken line left is gone on with. Raises `EngineError`."""
        self._models.begin(plan)
        return self._models.fetch(plan, report)

    def begin(self, plan: HubModel) -> Download:
        """Raises `InvalidRequest`, `Busy` or `DiskFull`."""
        with self._wake:
            if (item := self._items.get(plan.name)) is not None and item.state in ("waiting", "fetching", "checking"):
                raise Busy(f"{plan.title} is on its way already.", "Wait until it is here.", FIELD)
            if self._at_work is not None and self._at_work.is_unwanted and self._at_work.plan.name == plan.name:
                raise Busy(f"What was here of {plan.title} is being thrown away.", "Try again in half a minute.", FIELD)
            self._models.begin(plan)
            item = self._items[plan.name] = _Item(plan, here=self._models.here_bytes(plan))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="easel-downloads", daemon=True)
                self._thread.start()
            self._wake.notify_all()
            return _view(item)

    def resume(self, name: str) -> Download:
        """Go on with one that was stopped, failed, or begun before this start. Raises `NotFound` and as `start` does."""
        plan = next((one for one in self._models.begun() if one.name == name), None)
        if plan is None:
            raise NotFound("Nothing of that name was begun.", "Look it up again.", FIELD)
        return self.begin(plan)

    def stop(self, name: str) -> None:
        """What has come stays. Raises `NotFound`."""
        with self._wake:
            item = self._items.get(name)
            if item is None or item.state not in ("waiting", "fetching", "checking"):
                raise NotFound("Nothing of that name is on its way.", "Load the page again.", FIELD)
            item.stop.set()
            # The worker may be waiting for the hub; whoever pressed need not.
            item.state = "stopped"

    def remove(self, name: str) -> None:
        """Stop it and throw away what has come. Raises `NotFound` or `Busy`."""
        with self._wake:
            if (item := self._items.get(name)) is not None:
                item.stop.set()
                item.state, item.is_unwanted = "stopped", True
        try:
            self._models.remove(name)
        except Busy:
            # Its own worker still holds it, and throws it away as soon as it notices.
            if item is None:
                raise
            return
        with self._wake:
            self._items.pop(name, None)

    def all(self) -> tuple[Download, ...]:
        """In the order of the line, then what was begun before."""
        with self._wake:
            items = [one for one in self._items.values() if not one.is_unwanted]
            known = set(self._items)
        before = [one for one in self._models.begun() if one.name not in known]
        return (*(_view(one) for one in items), *(_view(_Item(one, "stopped", self._models.here_bytes(one))) for one in before))

    def disk_free(self) -> int:
        """Bytes that are free where models lie."""
        return free_bytes(self._models.folder)

    def close(self) -> None:
        """What is under way stops; it can be gone on with."""
        with self._wake:
            self._is_closed = True
            for item in self._items.values():
                item.stop.set()
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(2)

    def _work(self) -> None:
        while True:
            with self._wake:
                while (item := next((one for one in self._items.values() if one.state == "waiting"), None)) is None:
                    if self._is_closed:
                        return
                    self._wake.wait()
                if self._is_closed:
                    return
                item.state = "fetching"
                self._at_work = item
            self._fetch(item)
            with self._wake:
                self._at_work = None

    def _fetch(self, item: _Item) -> None:
        ending: DownloadState | None = None
        try:
            self._models.fetch(item.plan, item.hear, item.stop)
        except Stopped:
            ending = "stopped"
        except EngineError as error:
            ending, item.error = "failed", str(error)
        except Exception:
            log.exception("a download failed")
            ending, item.error = "failed", _BUG
        with self._wake:
            if item.is_unwanted or ending is None:
                self._drop(item)
            elif item.state != "waiting":
                item.state = "stopped" if item.stop.is_set() else ending
        if item.is_unwanted and ending is not None:
            try:
                self._models.remove(item.plan.name)
            except EngineError:
                log.warning("what is left of a download could not be removed")

    def _drop(self, item: _Item) -> None:
        """Begun anew meanwhile, it is another item."""
        if self._items.get(item.plan.name) is item:
            del self._items[item.plan.name]


def _view(item: _Item) -> Download:
    here, plan = item.here, item.plan
    before, done = 0, 0
    for one in plan.files:
        if before + one.size_bytes > here:
            break
        before, done = before + one.size_bytes, done + 1
    current = plan.files[min(done, len(plan.files) - 1)]
    speed = _speed(item) if item.state == "fetching" else None
    return Download(
        name=plan.name, title=plan.title, source=plan.id, licence=plan.licence, state=item.state, total_bytes=plan.size_bytes, here_bytes=here,
        files=len(plan.files), files_here=done, file=current.path, file_bytes=current.size_bytes,
        file_here_bytes=min(max(here - before, 0), current.size_bytes), bytes_per_s=speed,
        left_s=(plan.size_bytes - here) / speed if speed else None, error=item.error,
    )  # fmt: skip


def _speed(item: _Item) -> float | None:
    """Bytes in a second over the last seconds, also while nothing comes; None until there is something to go by."""
    heard = list(item.heard)
    if len(heard) < 2:
        return None
    took, came = time.monotonic() - heard[0][0], heard[-1][1] - heard[0][1]
    # The first files are small, and take as long as large ones: a time told from them alone would frighten.
    is_telling = took >= 1 and (came >= _TELLING_BYTES or took >= _WINDOW_S / 2)
    return (came / took or None) if is_telling else None
