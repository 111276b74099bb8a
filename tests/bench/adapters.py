"""Rows about LoRA swaps: what stands between "another style" and the first step, on the resident starter."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from engine.diffusion.adapters import AdapterShelf, Lora
from engine.diffusion.painter import Painter
from engine.library.loras import BUNDLED_LORAS
from tests.bench.row import Row
from tests.conftest import STARTER
from tests.diffusion.loras import write

_BAR_MS = 150
_BOTH = ("ink", "neon")


def adapter_rows(rounds: int) -> tuple[list[Row], dict[str, list[tuple[float, float]]]]:
    times = swap_times(rounds)
    rows: list[Row] = []
    for what, pairs in times.items():
        clock, processor = (statistics.median(values) * 1000 for values in zip(*pairs, strict=True))
        bar = "" if "two" in what else f"≤ {_BAR_MS} ms of processor"
        passes = processor <= _BAR_MS if bar else None
        rows.append(Row(f"LoRA swap, {what}", f"{processor:.0f} ms of processor, {clock:.0f} ms by the clock", bar, passes))
    return rows, times


def swap_times(rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds by the clock and of processor for one adapter in and out again: from disk, from memory, two at once, a text encoder's part too."""
    components, _ = Painter(device="auto", previews=False).load(STARTER)
    first, second = (Lora(BUNDLED_LORAS / f"{name}.safetensors", 0.8) for name in _BOTH)
    with tempfile.TemporaryDirectory() as folder:
        spoken = Lora(write(Path(folder) / "spoken.safetensors", components.unet, components.text_encoder, "text"), 0.8)
        kept = AdapterShelf()
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ("cold", "cached", "two at once, cached", "text encoder too, cached")}
        for number in range(rounds + 1):
            runs = {
                "cold": lambda: _swap(AdapterShelf(), components, (first,)),
                "cached": lambda number=number: _swap(kept, components, ((first, second)[number % 2],)),
                "two at once, cached": lambda: _swap(kept, components, (first, second)),
                "text encoder too, cached": lambda: _swap(kept, components, (spoken,)),
            }
            for name, run in runs.items():
                seconds = run()
                # The first round reads the files and warms the libraries up.
                if number:
                    times[name].append(seconds)
    return times


def _swap(shelf: AdapterShelf, components: object, loras: tuple[Lora, ...]) -> tuple[float, float]:
    """Both ways together: what a change of adapters costs between two pictures. Work of one thread, so its processor time is what a free core takes."""
    start = time.perf_counter(), time.process_time()
    with shelf.applied(components, loras):  # type: ignore[arg-type]
        pass
    return time.perf_counter() - start[0], time.process_time() - start[1]
