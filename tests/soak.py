"""Many visitors for minutes against a studio that is really running: `python -m tests.soak --clients 100 --seconds 180`.

Each visitor draws one small picture after the other, looks whether it is theirs, and whether a stranger's eyes stay shut.
At the end the database is asked what the visitors were not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.studio import Studio, resident_mb, wait_for
from tests.visitors import Drawing, Visitor

# Sizes and steps that the starter draws in some tens of milliseconds.
_SIZES, _STEPS = (64, 96, 128), 2
_SAMPLE_S = 2.0
# Memory is judged behind the first third: by then every page, pool and cache has been in use.
_WARM = 1 / 3


@dataclass
class Found:
    """What a soak has seen."""

    drawn: list[Drawing] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    strange: int = 0
    # (seconds since the start, megabytes of server and workers)
    memory: list[tuple[float, float]] = field(default_factory=list)
    lost: int = 0
    twice: int = 0
    left: list[str] = field(default_factory=list)
    exit_code: int = 0
    elapsed_s: float = 0.0

    @property
    def p95_s(self) -> float:
        times = sorted(drawing.accepted_s for drawing in self.drawn)
        return times[int(0.95 * (len(times) - 1))] if times else float("inf")

    @property
    def median_s(self) -> float:
        return statistics.median(drawing.accepted_s for drawing in self.drawn) if self.drawn else float("inf")

    @property
    def slope_mb_per_minute(self) -> float:
        """Least squares over the samples of a warm studio; 0 where there are too few to say."""
        warm = [(at, size) for at, size in self.memory if at >= self.memory[-1][0] * _WARM] if self.memory else []
        return statistics.linear_regression(*zip(*warm, strict=True)).slope * 60 if len(warm) > 5 else 0.0


def soak(data: Path, *, clients: int, seconds: float) -> Found:
    """Start a studio in `data`, let the visitors in, end it, and look at what is left."""
    found, aside = Found(), data.parent / f"{data.name}-tmp"
    aside.mkdir()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(aside)
    try:
        studio = Studio(data, "--queue-limit", "20", "--log-level", "warning")
        studio.start()
        try:
            studio.wait_ready()
            began = time.monotonic()
            visitors = asyncio.run(_visits(studio, clients, seconds, found))
            found.elapsed_s = time.monotonic() - began
            _ask_the_database(studio, visitors, found)
        finally:
            found.exit_code = studio.stop()
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
    found.left += [f"temporary: {path.name}" for path in aside.rglob("*") if path.is_file()]
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: not alive(studio.started), 10, "the last process")
    found.left += alive(studio.started)
    return found


def alive(pids: set[int]) -> list[str]:
    """What is left of these processes, with its command; one that has ended and was not asked how is over."""
    left: list[str] = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if not re.search(r"^State:\s+[ZX]", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE):
                left.append(f"process {pid}: {Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ')[:200]!r}")
    return left


async def _visits(studio: Studio, clients: int, seconds: float, found: Found) -> list[Visitor]:
    visitors = [Visitor(studio.url, number) for number in range(clients)]
    ends, newest = time.monotonic() + seconds, dict[int, Drawing]()

    async def visit(visitor: Visitor) -> None:
        turn = 0
        while time.monotonic() < ends:
            turn += 1
            prompt = f"a red castle at sunset, visitor {visitor.number}, turn {turn}"
            size = _SIZES[(visitor.number + turn) % len(_SIZES)]
            try:
                drawing = await visitor.draw(prompt, width=size, height=64, steps=_STEPS, seed=visitor.number)
                found.drawn.append(drawing)
                found.strange += not (drawing.recipe["prompt"] == prompt and await visitor.is_mine(drawing))
                newest[visitor.number] = drawing
                # A stranger who got hold of an address without its signature sees nothing.
                if (other := newest.get((visitor.number + 1) % clients)) is not None and clients > 1:
                    found.strange += (await visitor.get(other.download.split("?")[0])).status_code == 200
            except (httpx.HTTPError, RuntimeError, KeyError) as error:
                found.errors.append(f"visitor {visitor.number}, turn {turn}: {error!r}"[:300])
                await asyncio.sleep(0.5)

    async def measure() -> None:
        began = time.monotonic()
        while True:
            found.memory.append((time.monotonic() - began, sum(resident_mb(pid) for pid in studio.pids())))
            await asyncio.sleep(_SAMPLE_S if seconds > 30 else 0.25)

    measuring = asyncio.create_task(measure())
    await asyncio.gather(*(visit(visitor) for visitor in visitors))
    measuring.cancel()
    await asyncio.gather(*(visitor.__aexit__() for visitor in visitors))
    return visitors


def _ask_the_database(studio: Studio, visitors: list[Visitor], found: Found) -> None:
    """Jobs that did not come to a picture or came to two, owners that are not who asked, files that nobody lists."""
    owners = {visitor.owner: visitor.number for visitor in visitors}
    found.lost += studio.rows("SELECT count(*) FROM jobs WHERE state != 'done'")[0][0]
    pictures = studio.rows("SELECT job_id, owner, path, recipe FROM pictures")
    jobs = {row[0] for row in studio.rows("SELECT id FROM jobs WHERE state = 'done'")}
    found.lost += len(jobs - {row[0] for row in pictures}) + len({drawing.job for drawing in found.drawn} - jobs)
    found.twice += len(pictures) - len({row[0] for row in pictures})
    found.strange += sum(f"visitor {owners.get(owner, 'nobody')}, turn" not in recipe for _, owner, _, recipe in pictures)
    listed = {studio.data / path for _, _, path, _ in pictures}
    files = {path for name in ("images", "inputs", "paused", "tiles") for path in (studio.data / name).rglob("*") if path.is_file()}
    found.left += [str(path.relative_to(studio.data)) for path in files - listed]
    found.lost += len(listed - files)


# Bars: what a soak may show. The slope is that of a studio of 100; caches that fill once are not a leak.
P95_S, SLOPE_MB_PER_MINUTE = 3.0, 20.0


def table(found: Found, clients: int) -> list[tuple[str, str, str, bool]]:
    """(what, figure, bar, whether it is held)."""
    first, last = (f"{size:.0f}" for size in (found.memory[0][1], found.memory[-1][1]))
    return [
        ("jobs drawn", f"{len(found.drawn)} ({len(found.drawn) / max(found.elapsed_s, 1e-9):.1f}/s)", f"≥ {clients}", len(found.drawn) >= clients),
        ("errors told to a visitor", f"{len(found.errors)}", "0", not found.errors),
        ("jobs lost", f"{found.lost}", "0", found.lost == 0),
        ("jobs drawn twice", f"{found.twice}", "0", found.twice == 0),
        ("pictures at a wrong visitor", f"{found.strange}", "0", found.strange == 0),
        ("accepted after, p95", f"{found.p95_s:.2f} s (median {found.median_s:.2f} s)", f"≤ {P95_S:g} s", found.p95_s <= P95_S),
        ("memory slope, server + worker", f"{found.slope_mb_per_minute:+.1f} MB/min ({first} → {last} MB)", f"≤ {SLOPE_MB_PER_MINUTE:g} MB/min",
         found.slope_mb_per_minute <= SLOPE_MB_PER_MINUTE),
        ("files and processes left behind", f"{len(found.left)}", "0", not found.left),
        ("exit code", f"{found.exit_code}", "0", found.exit_code == 0),
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=180)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder) / "data", clients=options.clients, seconds=options.seconds)
    print(f"{options.clients} clients, {found.elapsed_s:.0f} s")
    rows = table(found, options.clients)
    for what, figure, bar, is_held in rows:
        print(f"{what:<33} {figure:<40} {bar:<14} {'pass' if is_held else 'FAIL'}")
    for line in (*found.errors[:10], *found.left[:10]):
        print(line)
    return 0 if all(is_held for *_, is_held in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
