"""The engine behind the door: submit, watch, cancel, history, models, close."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from types import TracebackType

from engine.contract.errors import Busy, NotFound
from engine.contract.models import ModelCard
from engine.contract.recipe import resolve
from engine.contract.requests import TextToImage
from engine.contract.results import Job, Picture
from engine.contract.settings import Settings
from engine.jobs.dispatcher import Dispatcher
from engine.jobs.hosts.base import Host
from engine.jobs.hosts.inline import InlineHost
from engine.jobs.hosts.process import ProcessHost
from engine.jobs.journal import Journal
from engine.jobs.watch import Watch
from engine.library.catalogue import BUNDLED, Catalogue
from engine.library.history import History
from engine.store import open_store


@dataclass(frozen=True)
class Health:
    """Whether pictures can be drawn, in plain values."""

    is_ready: bool
    worker: str
    queued: int
    model: str


class Engine:
    """One studio. Making it is quick and imports no torch; `start` sets the worker going behind the page."""

    def __init__(self, settings: Settings, *, host: Host | None = None) -> None:
        self.settings = settings
        self._store = open_store(settings.data)
        self.secret = _secret(settings)
        self._journal = Journal(self._store)
        self._history = History(self._store, settings.data)
        self._catalogue = Catalogue((BUNDLED, settings.data / "models"))
        self._host = host or _host(settings)
        self._dispatcher = Dispatcher(
            host=self._host,
            journal=self._journal,
            history=self._history,
            catalogue=self._catalogue,
            data=settings.data,
        )

    def start(self) -> None:
        """Start the worker on the default model and take up what the journal holds."""
        self._host.start(self._catalogue.folder(self.settings.model))
        self._dispatcher.start()

    def submit(self, request: TextToImage, owner: str) -> Job:
        """Resolve and journal; only then is the job accepted. Raises `ModelNotFound` or `Busy`."""
        if self._journal.count_open(owner) >= self.settings.queue_limit:
            raise Busy(f"You have {self.settings.queue_limit} jobs waiting.", "Let some finish, or stop a few.")
        card = self._catalogue.card(request.model or self.settings.model)
        job = self._journal.accept(resolve(request, card), owner)
        self._dispatcher.add(job)
        return job

    def watch(self, job_id: str, *, owner: str) -> Watch:
        """Events from now on, the newest one first; the ending if the job is over. Raises `NotFound`."""
        self._journal.get(job_id, owner)
        return self._dispatcher.watch(job_id)

    def cancel(self, job_id: str, *, owner: str) -> bool:
        """Stop the owner's job within one step; False when it is over or not theirs."""
        try:
            self._journal.get(job_id, owner)
        except NotFound:
            return False
        return self._dispatcher.cancel(job_id)

    def jobs(self, owner: str) -> list[Job]:
        """The owner's waiting and running jobs, oldest first."""
        return self._journal.open_jobs(owner)

    def history(self, owner: str, limit: int = 60) -> list[Picture]:
        """The owner's pictures, newest first."""
        return self._history.of_owner(owner, limit)

    def picture(self, picture_id: str, owner: str | None = None) -> Picture:
        """One picture. Raises `NotFound`, also when it is somebody else's."""
        return self._history.get(picture_id, owner)

    def models(self) -> list[ModelCard]:
        return self._catalogue.cards()

    def estimate_s(self, request: TextToImage) -> float | None:
        """Seconds of drawing for this request; None while nothing is known about this machine."""
        return self._dispatcher.estimates.seconds(resolve(request, self._catalogue.card(request.model or self.settings.model)))

    def health(self) -> Health:
        worker = self._host.state()
        return Health(worker in ("ready", "drawing"), worker, self._dispatcher.waiting(), self.settings.model)

    def close(self) -> None:
        """Stop the worker; unfinished jobs stay in the journal and go on at the next start."""
        self._dispatcher.close()
        self._store.dispose()

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _host(settings: Settings) -> Host:
    kind = ProcessHost if settings.worker == "process" else InlineHost
    return kind(device=settings.device, dtype=settings.dtype)


def _secret(settings: Settings) -> bytes:
    """32 bytes that sign picture links; kept with the data, so links survive a restart."""
    path = settings.data / "secret"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(32))
    return path.read_bytes()
