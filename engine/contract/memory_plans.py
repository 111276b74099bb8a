"""The ways to lay models in that an operator may choose from, each in a sentence, and why one cannot be had on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from engine.contract.memory import MemoryChoice

DeviceKind = Literal["cpu", "cuda", "mps"]
PACKAGES: Mapping[MemoryChoice, str] = {"int8": "torchao", "nf4": "bitsandbytes"}
_INSTALL: Mapping[str, str] = {
    "torchao": "pip install -r requirements-quantised.txt",
    "bitsandbytes": "pip install -r requirements-nf4.txt",
}


@dataclass(frozen=True)
class MemoryPlan:
    """One choice. `refusal` says why it cannot work here; None where it can."""

    choice: MemoryChoice
    title: str
    what: str
    refusal: str | None = None


_PLANS = (
    MemoryPlan("automatic", "Automatic", "The quickest way that fits; pictures differ a little only where nothing else fits."),
    MemoryPlan("everything", "All on the device", "The quickest where it fits, and out of memory where it does not."),
    MemoryPlan(
        "encoders-on-cpu",
        "Text encoders on the CPU",
        "Words are read on the device and their readers then wait in the computer's memory; same pictures.",
    ),
    MemoryPlan("parts", "One part at a time", "Text encoder, denoiser and VAE take turns on the device; slower, same pictures."),
    MemoryPlan("pieces", "In pieces (group offload)", "Layers come to the device when their turn is and leave it after; much slower, same pictures."),
    MemoryPlan("fp8", "8 bits, layer by layer (fp8)", "The denoiser is kept in 8 bits and laid in the lightest way above; pictures change a little."),
    MemoryPlan(
        "int8", "Quantised to 8 bits (torchao)", "Large parts are quantised when they are read, about half their size; pictures change a little."
    ),
    MemoryPlan(
        "nf4",
        "Quantised to 4 bits (bitsandbytes)",
        "Large parts are quantised when they are read, about a third of their size; pictures change visibly, and each step takes longer on a CPU. "
        "Not tried on a GPU yet.",
    ),
)


def memory_plans(kind: DeviceKind, packages: frozenset[str]) -> tuple[MemoryPlan, ...]:
    """All of them, in the order of a menu. `packages` are those of `PACKAGES` that are installed."""
    return tuple(replace(plan, refusal=_refusal(plan.choice, kind, packages)) for plan in _PLANS)


def install_line(package: str) -> str:
    return _INSTALL[package]


def _refusal(choice: MemoryChoice, kind: DeviceKind, packages: frozenset[str]) -> str | None:
    if choice in ("encoders-on-cpu", "pieces") and kind != "cuda":
        return "this device has no memory of its own, so there is no other place to put a part."
    if choice in ("fp8", "int8") and kind == "mps":
        return "this device cannot compute with such numbers."
    if choice == "nf4" and kind == "mps":
        return "nobody has tried it on this device yet."
    package = PACKAGES.get(choice)
    if package is not None and package not in packages:
        return f"the package {package} is not installed here: {install_line(package)}."
    return None
