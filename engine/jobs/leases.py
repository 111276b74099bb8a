"""Which runs nobody is alive to finish. Judged by this machine's own steady clock, so that no wall clock has to be right."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.jobs.journal import Held

# A holder's heart beats every `BEAT_S`; one that is not seen to beat for `LEASE_S` has died.
BEAT_S = 1.0
LEASE_S = 10.0


def holder_name() -> str:
    """A name for this server that is never used again: where it runs, its process, and a word of its own."""
    return f"{_place()}:{os.getpid()}:{secrets.token_hex(8)}"


class Leases:
    """Remembers when each run was last seen alive."""

    def __init__(self, own: str, *, clock: Callable[[], float] = time.monotonic, lease_s: float = LEASE_S) -> None:
        self._own = own
        self._clock = clock
        self._lease_s = lease_s
        self._seen: dict[tuple[str, int], tuple[int, float]] = {}

    def expired(self, held: Iterable[Held]) -> list[Held]:
        """Of all runs under way, those whose holder is dead."""
        now = self._clock()
        seen: dict[tuple[str, int], tuple[int, float]] = {}
        dead: list[Held] = []
        for one in held:
            if one.holder == self._own:
                continue
            key = (one.job_id, one.attempt)
            beat, since = self._seen.get(key, (-1, now))
            seen[key] = (one.beat, since if one.beat == beat else now)
            if is_gone(one.holder, self._own) or now - seen[key][1] > self._lease_s:
                dead.append(one)
        self._seen = seen
        return dead


def is_gone(holder: str | None, own: str) -> bool:
    """Whether a holder is dead for sure: its process was on this machine and is no more. Saves the wait after a restart."""
    if holder is None:
        return True
    place, pid, word = holder.split(":")
    own_place, own_pid, own_word = own.split(":")
    if place != own_place:
        return False
    return not _is_alive(int(pid)) if pid != own_pid else word != own_word


def _is_alive(pid: int) -> bool:
    if os.name == "nt":
        # There, signal 0 ends the process that is asked.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _place() -> str:
    """A word for the machine and, in a container, the container: a process number means nothing outside of them."""
    parts = [platform.node()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(os.readlink(path) if "/ns/" in path else Path(path).read_text().strip())
        except OSError:
            continue
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
