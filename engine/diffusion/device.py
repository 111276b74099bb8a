"""Which device and which precision: asked once at start, never at import."""

from __future__ import annotations

import gc
import os
import statistics
import time

import torch

from engine.contract.memory import Room
from engine.diffusion.residency import Residency


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


def pick_room(device: torch.device, gb: float | None) -> Room:
    """The memory that may be used: `gb` of it, or all that there is."""
    is_own = device.type == "cuda"
    if gb is not None:
        found = int(gb * 1024**3)
    else:
        found = torch.cuda.get_device_properties(device).total_memory if is_own else host_bytes()
    return Room(device_name(device), found, is_host=not is_own)


def pick_residency(room: Room, gb: float | None) -> Residency:
    """The budget for models: of the computer's own memory only half is theirs, unless somebody has said how much."""
    if room.is_host:
        return Residency(device_bytes=room.bytes if gb is not None else room.bytes // 2, host_bytes=None)
    return Residency(device_bytes=room.bytes, host_bytes=host_bytes() // 2)


def is_out_of_memory(error: RuntimeError) -> bool:
    # The CPU allocator has no exception type of its own.
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "can't allocate memory" in str(error)


def unless_memory_ran_out(error: BaseException) -> None:
    """Raise `error` again where it says that: no fault of the file that was being read, and a lighter plan may do."""
    if isinstance(error, RuntimeError) and is_out_of_memory(error):
        raise error


def release_memory(device: torch.device) -> None:
    """Give back what nobody holds any more, so that the next try finds it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def host_bytes() -> int:
    """The computer's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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
