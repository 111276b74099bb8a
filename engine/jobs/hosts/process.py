"""The usual host: one worker process for a device. It dies alone, gives its memory back, and is replaced."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from engine.contract.errors import EngineError, WorkerLost
from engine.jobs.hosts.base import HostMessage, Loads, Stopped, Work
from engine.jobs.hosts.worker import Done, Failure, Ready, Shutdown, StopJob, Warm, serve

_GRACE_S = 5.0


class ProcessHost:
    """A worker in its own process and the pipe to it. Only the dispatcher's thread calls `run`; anyone may `stop`."""

    def __init__(self, *, device: str = "auto", dtype: str = "auto") -> None:
        self._device = device
        self._dtype = dtype
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._send_lock = threading.Lock()
        self._state = "starting"
        self._warm: Path | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self, model_folder: Path | None) -> None:
        """Spawn the worker and return at once; the model loads behind the page."""
        self._warm = model_folder
        # spawn, not fork: the page's process has threads, and CUDA does not survive a fork.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._device, self._dtype), name="easel-worker", daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours
        self._state = "starting"
        self._send(Warm(model_folder))

    def run(self, work: Work) -> Iterator[HostMessage]:
        if self._process is None or not self._process.is_alive():
            yield Loads("Starting the engine again")
            self._restart()
        elif self._state == "starting":
            yield Loads("Starting the engine")
        self._send(work)
        try:
            while not isinstance(message := self._receive(), Done):
                if isinstance(message, Ready):
                    self._state = "ready"
                    continue
                if isinstance(message, Failure):
                    raise EngineError.from_plain(message.error)
                self._state = "starting" if isinstance(message, Loads) else "drawing"
                yield message
                if isinstance(message, Stopped):
                    break
        finally:
            if self._state != "lost":
                self._state = "ready"

    def stop(self, job_id: str) -> None:
        try:
            self._send(StopJob(job_id))
        except WorkerLost:
            return

    def state(self) -> str:
        self._note_ready()
        return self._state

    def close(self) -> None:
        if self._process is None:
            return
        try:
            self._send(Shutdown())
        except WorkerLost:
            pass
        self._process.join(_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = None

    def _note_ready(self) -> None:
        """While nothing runs, the word that warming has ended lies unread in the pipe; `run` skips it too."""
        if self._state == "starting" and self._process is not None and not self._process.is_alive():
            self._state = "lost"

    def _restart(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        self.start(self._warm)

    def _send(self, message: object) -> None:
        pipe = self._pipe
        if pipe is None:
            raise _lost()
        try:
            with self._send_lock:
                pipe.send(message)
        except (OSError, ValueError) as error:
            raise _lost() from error

    def _receive(self) -> HostMessage | Done | Failure | Ready:
        assert self._pipe is not None and self._process is not None
        # The pipe first: a worker may write its last words and then die.
        if self._pipe not in wait([self._pipe, self._process.sentinel]) and not self._pipe.poll():
            self._state = "lost"
            raise _lost()
        try:
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            self._state = "lost"
            raise _lost() from error


def _lost() -> WorkerLost:
    return WorkerLost(
        "The process that draws has died, most likely for want of memory.",
        "A new one is starting; press Generate again, smaller if it was a large picture.",
    )
