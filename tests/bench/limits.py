"""What this machine can do at best, measured beside everything else: a matrix product, a copy, and the operations of one picture."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.diffusion.painter import Painter
from tests.bench.row import Row
from tests.bench.runs import ours, picture_hash, recipe

_EDGE, _COPIED = 2048, 2**26


def limit_rows(painter: Painter, picture_s: float, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """`picture_s` are the seconds of a picture of 20 steps in this run."""
    dtype, device = painter._dtype, painter._device  # pyright: ignore[reportPrivateUsage]
    product, copied = product_rates(dtype, device, rounds), copy_rates(device, rounds)
    operations = operations_of_a_picture(painter)
    best, share = statistics.median(product), operations / picture_s / statistics.median(product)
    name = str(dtype).removeprefix("torch.")
    return [
        Row(f"the limit: a product of {_EDGE} × {_EDGE} matrices, {name}", f"{best / 1e12:.2f} Tflop/s", "", None),
        Row("the limit: a copy in memory", f"{statistics.median(copied) / 1e9:.1f} GB/s", "", None),
        Row(
            "a picture of 20 steps, its operations",
            f"{operations / 1e9:.0f} Gflop: {share:.0%} of the limit",
            "",
            None,
            picture_hash(painter, recipe(20, 1)),
        ),
    ], {"product": product, "copy": copied, "operations": operations, "share": share}


def product_rates(dtype: torch.dtype, device: torch.device, rounds: int) -> list[float]:
    """Floating point operations a second of a large matrix product, a product and a sum counted as two."""
    a, b = (torch.randn(_EDGE, _EDGE, dtype=dtype, device=device) for _ in range(2))
    return [2 * _EDGE**3 / _seconds(lambda: torch.mm(a, b), device) for _ in range(rounds + 1)][1:]


def copy_rates(device: torch.device, rounds: int) -> list[float]:
    """Bytes read and written a second."""
    source = torch.zeros(_COPIED, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return [2 * source.nbytes / _seconds(lambda: target.copy_(source), device) for _ in range(rounds + 1)][1:]


def operations_of_a_picture(painter: Painter) -> int:
    """Of a guided 256 × 256 in 20 steps: words, denoiser and decoder."""
    with FlopCounterMode(display=False) as counter:
        ours(painter)(recipe(20, 1, prompt="words that were not said before"))
    return counter.get_total_flops()


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
