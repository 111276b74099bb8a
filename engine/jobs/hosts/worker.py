"""What runs inside the worker process: take work from the pipe, draw, send messages, look for a stop after each step."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

from engine.contract.errors import EngineError
from engine.contract.memory import Memory
from engine.contract.work import Wish, Work
from engine.jobs.hosts.imports import importing
from engine.jobs.hosts.pacing import thinned
from engine.jobs.hosts.steering import steered
from engine.jobs.wishes import Wishes

log = logging.getLogger("easel.worker")
_UNEXPECTED = EngineError("Something went wrong while drawing.", "Try again; if it stays, tell the operator what you asked for.")


@dataclass(frozen=True)
class Warm:
    """Load this model before the first work comes."""

    model_folder: Path | None


@dataclass(frozen=True)
class Wanted:
    """What is wanted of run `attempt` of a job."""

    job_id: str
    attempt: int
    wish: Wish | None
    skipped: frozenset[int]


@dataclass(frozen=True)
class Shutdown:
    pass


@dataclass(frozen=True)
class Run:
    """A work on this side of the pipe, and what is wanted of it."""

    work: Work
    wishes: Wishes


Inbox = SimpleQueue[Run | Warm | Shutdown]


@dataclass(frozen=True)
class Ready:
    """The worker has imported everything and loaded its first model."""

    device: str


@dataclass(frozen=True)
class Done:
    """The work ended after its last message."""


@dataclass(frozen=True)
class Failure:
    """An `EngineError` in its plain form: exceptions do not cross processes safely."""

    error: dict[str, str | None]


def serve(pipe: Connection, device: str, dtype: str, memory: Memory) -> None:
    """The worker's main function. Ends when told to, or when the page's process is gone."""
    # Ctrl+C reaches the whole group; only the page decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    inbox: Inbox = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, inbox), daemon=True).start()

    with importing():
        from engine.diffusion.libraries import prepare_libraries

        prepare_libraries()
        from engine.diffusion.painter import Painter

    painter = Painter(device=device, dtype=dtype, memory=memory)
    while not isinstance(order := inbox.get(), Shutdown):
        try:
            if isinstance(order, Warm):
                if order.model_folder is not None:
                    painter.load(order.model_folder)
                pipe.send(Ready(painter.device_name))
                continue
            messages = painter.paint(order.work, lambda run=order: run.wishes.skipped)
            for message in thinned(steered(messages, order.wishes, painter.freeze, painter.keep)):
                pipe.send(message)
            pipe.send(Done())
        except EngineError as error:
            # A model that cannot be warmed says so to the first job that wants it, not to an empty room.
            pipe.send(Ready(painter.device_name) if isinstance(order, Warm) else Failure(error.to_plain()))
        except OSError:
            return
        except Exception:
            # The worker's edge: a bug is logged whole here and told in a sentence there; the model stays loaded.
            log.exception("unexpected failure while drawing")
            pipe.send(Ready(painter.device_name) if isinstance(order, Warm) else Failure(_UNEXPECTED.to_plain()))


def _listen(pipe: Connection, inbox: Inbox) -> None:
    """Its own thread, so that a stop is seen while the main thread is inside torch."""
    run: Run | None = None
    while True:
        try:
            message: Work | Wanted | Warm | Shutdown = pipe.recv()
        except (EOFError, OSError):
            # The page's process is gone: nobody is left to draw for, and torch may be mid-step.
            os._exit(0)
        match message:
            case Work():
                run = Run(message, Wishes())
                inbox.put(run)
            case Wanted(job_id, attempt, wish, skipped):
                # What was meant for an earlier run of the same job must not reach this one.
                if run is not None and (run.work.job_id, run.work.attempt) == (job_id, attempt):
                    run.wishes.want(wish, skipped)
            case _:
                inbox.put(message)
