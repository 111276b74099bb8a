"""How long the threads that draw were not drawing. Linux counts it to the nanosecond, where the same picture takes a tenth more or less by the clock."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

# By thread: seconds on a core, and seconds in which it could have run and had none.
Spent = dict[int, tuple[float, float]]


def spent(pid: int) -> Spent:
    found: Spent = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end meanwhile; those that draw do not.
        with suppress(FileNotFoundError, ProcessLookupError):
            on_ns, waited_ns, _ = (folder / "schedstat").read_text(encoding="ascii").split()
            found[int(folder.name)] = (int(on_ns) / 1e9, int(waited_ns) / 1e9)
    return found


def lost_s(pid: int, before: Spent, wall_s: float) -> float:
    """Of `wall_s` seconds since `before`: those in which the thread that leads was not on a core, and those in which one that helps it had none.

    Where two wait at once both are counted. Not counted is what the thread that leads does on its core for whoever follows, such as telling a step.
    """
    times = {name: tuple(now - then for now, then in zip(both, before.get(name, (0.0, 0.0)), strict=True)) for name, both in spent(pid).items()}
    on_s, _ = times.pop(pid)
    return wall_s - on_s + sum(waited_s for helped_s, waited_s in times.values() if helped_s > on_s / 2)
