"""A running studio for tests: the real app in a process of its own, on a free port of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Studio:
    """`python app.py` on 127.0.0.1. Leaving the context ends it and keeps its log."""

    def __init__(self, data: Path, *flags: str, errors: Path | None = None) -> None:
        self.data = data
        # Where its stderr goes; into its log without it.
        self.errors = errors
        self.flags = flags
        self.log: list[str] = []
        self.started_s = 0.0
        self.url = ""
        # Every process of it that was ever seen.
        self.started: set[int] = set()

    def __enter__(self) -> Studio:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers."""
        begin, self.url = time.monotonic(), ""
        command = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", "0", "--data", str(self.data), *self.flags]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with contextlib.nullcontext(subprocess.STDOUT) if self.errors is None else self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for(lambda: bool(self.url) or self.process.poll() is not None, 60, "the address of the studio")
        wait_for(lambda: self._answers() or self.process.poll() is not None, 60, "the studio to answer")
        if self.process.poll() is not None:
            raise RuntimeError("The studio did not start:\n" + "".join(self.log))
        self.started_s = time.monotonic() - begin

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(10)
            if self.process.stdout is not None:
                self.process.stdout.close()

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "/healthz", timeout=5) as answer:
            return json.load(answer)

    def wait_ready(self) -> None:
        wait_for(lambda: bool(self.health()["ready"]), 90, "the model to be loaded")

    def pids(self) -> list[int]:
        """The server and what it has started, as Linux lists them."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        found = [self.process.pid, *(int(pid) for file in children for pid in file.read_text(encoding="ascii").split())]
        self.started.update(found)
        return found

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What its database holds, read beside it."""
        with contextlib.closing(sqlite3.connect(f"file:{self.data / 'easel.db'}?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchall()

    def _answers(self) -> bool:
        try:
            return self.health()["status"] == "ok"
        except OSError:
            return False

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            if not self.url and (found := re.search(r"http://127\.0\.0\.1:\d+", line)):
                self.url = found[0]


def wait_for(is_so: Any, timeout_s: float, what: str) -> None:
    """Poll a condition; a `TimeoutError` names what did not happen."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {timeout_s:.0f} s for {what}.")
        time.sleep(0.05)


def peak_mb() -> float:
    """The most memory that this process ever held. Not `ru_maxrss`: a child begins there with what its parent once held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found
    return int(found[1]) / 1024


def resident_mb(pid: int | None = None) -> float:
    """Memory that a process holds, this one's if no other is named. Reads what Linux says."""
    pages = int(Path(f"/proc/{pid or 'self'}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_s(pid: int) -> float:
    """Seconds of a core that a process has used so far, its threads together. Reads what Linux says."""
    user, system = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
