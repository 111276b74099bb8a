"""Where maps are made: in a small process of their own, so that none waits behind a picture, or in this one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Protocol

from engine.contract.errors import EngineError, WorkerLost
from engine.contract.work import MapPixels, MapTask
from engine.jobs.hosts.imports import importing
from engine.jobs.hosts.worker import Failure, log

if TYPE_CHECKING:
    from engine.diffusion.preprocessors import MapMaker

IDLE_S = 300.0
PATIENCE_S = 600.0
_UNEXPECTED = EngineError("Something went wrong while making the map.", "Try another preprocessor; if it stays, tell the operator.", "controls")


class MapHost(Protocol):
    """Makes one map at a time. Raises `EngineError` about "controls" for everything that a person can be told."""

    def make(self, task: MapTask) -> MapPixels: ...

    def close(self) -> None: ...


class InlineMaps:
    """Makes them in the calling thread. torch is imported at the first `make`, not with this module."""

    def __init__(self, *, device: str = "auto") -> None:
        self._device = device
        self._maker: MapMaker | None = None
        self._lock = threading.Lock()

    def make(self, task: MapTask) -> MapPixels:
        with self._lock:
            if self._maker is None:
                from engine.diffusion.preprocessors import MapMaker

                self._maker = MapMaker(device=self._device)
            return self._maker.make(task)

    def close(self) -> None:
        self._maker = None


class ProcessMaps:
    """Starts its process at the first map and ends it after `idle_s` without one. One that dies is replaced at the next map."""

    def __init__(self, *, device: str = "auto", idle_s: float = IDLE_S, patience_s: float = PATIENCE_S) -> None:
        self._device = device
        self._idle_s = idle_s
        self._patience_s = patience_s
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def make(self, task: MapTask) -> MapPixels:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            try:
                answer = self._ask(task)
            except (EOFError, OSError, ValueError) as error:
                self._end()
                raise _lost() from error
            self._timer = threading.Timer(self._idle_s, self._end_idle)
            self._timer.daemon = True
            self._timer.start()
        if isinstance(answer, Failure):
            raise EngineError.from_plain(answer.error)
        return answer

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # Not behind the lock: whoever waits for a map is told that its process has gone.
        self._end()

    def _ask(self, task: MapTask) -> MapPixels | Failure:
        if self._process is None or self._pipe is None or not self._process.is_alive():
            self._begin()
        pipe = self._pipe
        assert pipe is not None
        pipe.send(task)
        if not pipe.poll(self._patience_s):
            raise OSError("no answer")
        return pipe.recv()

    def _begin(self) -> None:
        self._end()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=serve_maps, args=(theirs, self._device), name="easel-maps", daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours

    def _end_idle(self) -> None:
        # A map that has just begun keeps its process.
        if self._lock.acquire(blocking=False):
            try:
                self._end()
            finally:
                self._lock.release()

    def _end(self) -> None:
        process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if process is not None:
            process.kill()
            process.join()
        if pipe is not None:
            pipe.close()


def serve_maps(pipe: Connection, device: str) -> None:
    """The main function of the process that makes maps. Ends when the page's process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["HF_HUB_OFFLINE"] = "1"
    with importing():
        from engine.diffusion.libraries import prepare_libraries

        prepare_libraries()
        from engine.diffusion.preprocessors import MapMaker

    maker = MapMaker(device=device)
    with contextlib.suppress(EOFError, OSError):
        while True:
            task: MapTask = pipe.recv()
            try:
                pipe.send(maker.make(task))
            except EngineError as error:
                pipe.send(Failure(error.to_plain()))
            except OSError:
                raise
            except Exception:
                # This process's edge: a bug is logged whole here and told in a sentence there.
                log.exception("unexpected failure while making a map")
                pipe.send(Failure(_UNEXPECTED.to_plain()))


def _lost() -> WorkerLost:
    return WorkerLost(
        "The process that makes maps has died, most likely for want of memory.",
        "The next map starts a new one; try it with less detail, or with another preprocessor.",
        "controls",
    )
