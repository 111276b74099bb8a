"""How long the threads that draw were not drawing. Linux counts it to the nanosecond, where the same picture takes a tenth more or less by the clock."""

from __future__ import annotations

from pathlib import Path

# By thread: seconds on a core, and seconds in which it could have run and had none.
Spent = dict[int, tuple[float, float]]


def spent(pid: int) -> Spent:
    found: Spent = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        on_ns, waited_ns, _ = (folder / "schedstat").read_text(encoding="ascii").split()
        found[int(folder.name)] = (int(on_ns) / 1e9, int(waited_ns) / 1e9)
    return found


def lost_s(pid: int, before: Spent, wall_s: float) -> float:
    """Of `wall_s` seconds since `before`: those in which the thread that leads was not on a core, and those in which one that helps it had none.

    One may be waiting while another is, so this is the most that drawing can have been held up, but for what it then finds gone from its cache.
    """
    times = {name: tuple(now - then for now, then in zip(both, before.get(name, (0.0, 0.0)), strict=True)) for name, both in spent(pid).items()}
    on_s, _ = times.pop(pid)
    return wall_s - on_s + sum(waited_s for helped_s, waited_s in times.values() if helped_s > on_s / 2)
