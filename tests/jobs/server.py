"""A server without a page, in a process of its own: for tests that kill it. `python -m tests.jobs.server DATA DEVICES`."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from engine import Engine, Settings


def start(data: Path, devices: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-W", "ignore", "-m", "tests.jobs.server", str(data), devices])


if __name__ == "__main__":
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with Engine(Settings(data=Path(sys.argv[1]), dtype="float32", device=sys.argv[2])):
        while not ended.wait(0.2):
            pass
