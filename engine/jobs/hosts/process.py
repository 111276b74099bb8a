"""The usual host: one worker process for a device. It dies alone, gives its memory back, and is replaced."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import threading
from collections.abc import Generator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import SimpleQueue

from engine.contract.errors import EngineError, WorkerLost
from engine.contract.memory import Memory
from engine.contract.work import HostMessage, Loads, Work
from engine.jobs.hosts.previews import lean
from engine.jobs.hosts.worker import Done, Failure, Ready, Shutdown, Wanted, Warm, serve
from engine.jobs.wishes import Wishes

log = logging.getLogger("easel.jobs")
_GRACE_S = 5.0

# None stands for a pipe that has closed.
Inbox = SimpleQueue[HostMessage | Done | Failure | None]


class ProcessHost:
    """A worker in its own process and the pipe to it. Only one thread calls `run`; wishes may come from any."""

    def __init__(self, *, device: str = "auto", dtype: str = "auto", memory: Memory | None = None) -> None:
        self._device = device
        self._dtype = dtype
        self._memory = memory or Memory()
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._inbox: Inbox = SimpleQueue()
        self._send_lock = threading.Lock()
        self._state = "starting"
        self._warm: Path | None = None
        self._device_name = ""
        # Who may start a worker: a run for itself, its reader where nothing runs.
        self._starting = threading.Lock()
        self._is_running = self._is_closed = False
        # One that dies before it is ready is not started again and again for nobody.
        self._was_ready = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self, model_folder: Path | None) -> None:
        """Spawn the worker and return at once; the model loads behind the page."""
        self._warm = model_folder
        # spawn, not fork: the page's process has threads, and CUDA does not survive a fork.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._device, self._dtype, self._memory), name="easel-worker", daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours
        self._inbox = SimpleQueue()
        self._state = "starting"
        threading.Thread(target=self._read, args=(ours, self._inbox), name="easel-worker-reader", daemon=True).start()
        self._send(Warm(model_folder))

    def run(self, work: Work, wishes: Wishes) -> Generator[HostMessage, None, None]:
        with self._starting:
            self._is_running = True
        try:
            yield from self._walk(work, wishes)
        finally:
            with self._starting:
                self._is_running = False

    def _walk(self, work: Work, wishes: Wishes) -> Generator[HostMessage, None, None]:
        if self._state == "lost" or self._process is None or not self._process.is_alive():
            yield Loads("Starting the engine again")
            self._restart()
        elif self._state == "starting":
            yield Loads("Starting the engine")
        self._send(work)
        # After the work, and again what was wanted before: a worker that was started anew has not heard it.
        wishes.listen(lambda now: self._tell(work, now))
        is_over = False
        try:
            while not isinstance(message := self._inbox.get(), Done):
                is_over = message is None or isinstance(message, Failure)
                if message is None:
                    raise _lost()
                if isinstance(message, Failure):
                    raise EngineError.from_plain(message.error)
                self._state = "drawing"
                yield lean(message, is_newest=self._inbox.empty())
            is_over = True
        finally:
            if not is_over:
                # Whoever listened has gone, say because the disk is full: the worker must not draw into the next job.
                wishes.want("stop")
                self._drain()
            wishes.listen(None)
            if self._state == "drawing":
                self._state = "ready"

    def state(self) -> str:
        return self._state

    def device(self) -> str:
        return self._device_name

    def close(self) -> None:
        with self._starting:
            self._is_closed = True
        if self._process is None:
            return
        with contextlib.suppress(WorkerLost):
            self._send(Shutdown())
        self._process.join(_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = None

    def _read(self, pipe: Connection, inbox: Inbox) -> None:
        """Its own thread, so that a worker that is ready or dead is known while nothing runs."""
        while True:
            try:
                message: HostMessage | Done | Failure | Ready = pipe.recv()
            except (EOFError, OSError):
                if inbox is self._inbox:
                    self._state = "lost"
                inbox.put(None)
                self._replace(inbox)
                return
            if isinstance(message, Ready):
                self._device_name = message.device
                self._state = "ready"
                self._was_ready = True
            else:
                inbox.put(message)

    def _replace(self, inbox: Inbox) -> None:
        """A worker that died while it rested: whoever asks whether the studio can draw must not hear no until somebody wants a picture."""
        with self._starting:
            if inbox is not self._inbox or self._is_running or self._is_closed or not self._was_ready:
                return
            self._was_ready = False
            log.warning("the worker died while nothing was drawn; a new one is starting")
            # One that cannot even be spawned is said to the first job that wants it.
            with contextlib.suppress(OSError, WorkerLost):
                self._restart()

    def _drain(self) -> None:
        """Throw away what the worker still has to say about a job that nobody wants any more."""
        while not isinstance(message := self._inbox.get(), (Done, Failure)) and message is not None:
            pass

    def _restart(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        self.start(self._warm)

    def _tell(self, work: Work, wishes: Wishes) -> None:
        # A worker that is gone has stopped already.
        with contextlib.suppress(WorkerLost):
            self._send(Wanted(work.job_id, work.attempt, wishes.now, wishes.skipped))

    def _send(self, message: object) -> None:
        pipe = self._pipe
        if pipe is None:
            raise _lost()
        try:
            with self._send_lock:
                pipe.send(message)
        except (OSError, ValueError) as error:
            raise _lost() from error


def _lost() -> WorkerLost:
    return WorkerLost("The process that draws has died, most likely for want of memory.", "A new one is starting. If it happens again, draw smaller.")
