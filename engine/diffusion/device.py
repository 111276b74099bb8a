"""Which device and which precision: asked once at start, never at import."""

from __future__ import annotations

import statistics
import time

import torch


def pick_device(wanted: str) -> torch.device:
    """`wanted`, or for "auto" the best device that is here."""
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """`wanted`, or for "auto" the quicker of bfloat16 and float32. float16 on a CPU is emulated and never picked."""
    if wanted != "auto":
        return getattr(torch, wanted)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if bfloat16_wins() else torch.float32


def bfloat16_wins(*, margin: float = 1.5) -> bool:
    """Whether a matrix product is clearly quicker in bfloat16: 5 times with AVX512-BF16 or AMX, slower where it is emulated."""
    ratio = _product_s(torch.float32) / _product_s(torch.bfloat16)
    return ratio > margin


def _product_s(dtype: torch.dtype) -> float:
    a, b = (torch.ones(512, 512, dtype=dtype) for _ in range(2))
    times: list[float] = []
    for _ in range(7):
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def device_name(device: torch.device) -> str:
    """What times are remembered under: they mean the same after a restart, and nothing on another device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type
