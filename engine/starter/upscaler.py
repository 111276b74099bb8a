"""The starter's own ×2 upscaler: `python -m engine.starter.upscaler`. Resumes where it stopped; the folder of the work is `data/upscaler`."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from engine.starter.pairs import TRAINING_SEED, Pairs, load_pairs
from engine.starter.unet import Master

SCALE = 2
CHECKPOINT = "upscaler.pt"
# The slope of a fresh PReLU, and how much weaker edges are than noise of spread 1.
_PRELU, _EDGE_GAIN = 0.25, 4
# In the header of the file, where the list of upscalers finds them.
METADATA = {"title": "Starter ×2: clean edges, trained on drawn scenes", "scale": str(SCALE), "licence": "Apache-2.0"}


@dataclass(frozen=True)
class UpscalerPlan:
    """The training ends after `minutes`, or after `steps` where that is given. `crop` is the edge of the small picture."""

    minutes: float = 0.0
    steps: int | None = None
    features: int = 32
    convolutions: int = 8
    batch: int = 16
    crop: int = 64
    learning_rate: float = 2e-3
    edge_weight: float = 0.2
    ema: float = 0.999
    seed: int = 9
    say_every: int = 100
    save_every_s: float = 60
    compiled: bool = True


class CompactUpscaler(nn.Module):
    """(B, 3, H, W) in [0, 1] → (B, 3, 2H, 2W): what is missing from the repeated pixels, all of it computed at the small size.

    The layout of Real-ESRGAN's compact network (Wang et al. 2021, arXiv:2107.10833), so that loaders of upscalers know it: alternating 3 × 3
    convolutions and PReLU in `body`, then a pixel shuffle (Shi et al. 2016, arXiv:1609.05158, section 2.2).
    """

    def __init__(self, features: int, convolutions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(convolutions):
            layers += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        self.body = nn.Sequential(*layers, nn.Conv2d(features, 3 * SCALE**2, 3, padding=1))
        _start_from_edges([layer for layer in self.body if isinstance(layer, nn.Conv2d)])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        detail = F.pixel_shuffle(self.body(pixels), SCALE)
        return detail.float() + F.interpolate(pixels, scale_factor=SCALE, mode="nearest")


@torch.no_grad()
def _start_from_edges(convolutions: list[nn.Conv2d]) -> None:
    """Begin as the repeated pixels, with features that are silent on plain areas.

    Features of plain brightness would make every step a step in brightness: with the usual start the loss stood still for 1,400 steps.
    """
    first, *_, last = convolutions
    for layer in convolutions:
        for name, parameter in layer.named_parameters():
            if name == "bias" or layer is last:
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, a=_PRELU)
    first.weight -= first.weight.mean((2, 3), keepdim=True)
    first.weight *= _EDGE_GAIN


def train_upscaler(pairs: Pairs, work: Path, plan: UpscalerPlan) -> CompactUpscaler:
    """Train and return the averaged network; goes on from `work/upscaler.pt` and leaves its newest state there.

    Adds a line to `work/upscaler.jsonl` every `say_every` steps: mean loss, and PSNR in dB of the batches against the truth.
    """
    torch.manual_seed(plan.seed)
    model: Any = CompactUpscaler(plan.features, plan.convolutions)
    master = Master(model, ema=plan.ema)
    optimiser = torch.optim.Adam([master.weights], lr=plan.learning_rate, betas=(0.9, 0.99))
    state = _resume(work / CHECKPOINT, master, optimiser)
    model = model.to(memory_format=torch.channels_last)
    master.scatter()
    run: Any = torch.compile(model) if plan.compiled else model
    started, saved, before = time.monotonic(), time.monotonic(), state["minutes"]
    seen: deque[tuple[float, float]] = deque(maxlen=plan.say_every)
    while (share := state["step"] / plan.steps if plan.steps is not None else state["minutes"] / plan.minutes) < 1:
        optimiser.param_groups[0]["lr"] = plan.learning_rate * min(1, (state["step"] + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share))
        small, truth = batch_of(pairs, plan, state["step"])
        with torch.autocast("cpu", torch.bfloat16):
            made = run(small)
        loss = picture_loss(made, truth, plan.edge_weight)
        loss.backward()
        master.weights.grad = master.gather()
        torch.nn.utils.clip_grad_norm_([master.weights], 1.0)
        optimiser.step()
        master.scatter()
        master.update_average(state["step"])
        state["step"] += 1
        state["minutes"] = before + (time.monotonic() - started) / 60
        seen.append((loss.item(), float((made.detach() - truth).square().mean())))
        if state["step"] % plan.say_every == 0:
            _say(work, state, seen)
        if time.monotonic() - saved > plan.save_every_s:
            _save(work / CHECKPOINT, master, optimiser, state)
            saved = time.monotonic()
    _save(work / CHECKPOINT, master, optimiser, state)
    master.scatter(master.average)
    return model.eval()


def batch_of(pairs: Pairs, plan: UpscalerPlan, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 3, crop, crop) and (B, 3, 2 crop, 2 crop) in [0, 1]; every other small one went through the autoencoder, half are mirrored.

    All chance of a step comes from its number, so a resumed run sees what it would have seen.
    """
    rng = np.random.default_rng([plan.seed, step])
    small: list[Any] = []
    truth: list[Any] = []
    for number in range(plan.batch):
        index = int(rng.integers(len(pairs.large)))
        source = (pairs.clean if number % 2 else pairs.decoded)[index]
        y, x = (int(rng.integers(edge - plan.crop + 1)) for edge in source.shape[:2])
        turn = slice(None, None, -1 if rng.random() < 0.5 else 1)
        small.append(source[y : y + plan.crop, x : x + plan.crop][:, turn])
        truth.append(pairs.large[index][SCALE * y : SCALE * (y + plan.crop), SCALE * x : SCALE * (x + plan.crop)][:, turn])
    return _to_unit(small), _to_unit(truth)


def _to_unit(images: list[Any]) -> torch.Tensor:
    pixels = torch.from_numpy(np.stack(images).astype(np.float32)) / 255
    # A view of pixels in rows: channels last already.
    return pixels.permute(0, 3, 1, 2)


def picture_loss(made: torch.Tensor, truth: torch.Tensor, edge_weight: float) -> torch.Tensor:
    """L1, and a little L1 of the gradients: sharp edges are what makes a drawing."""
    loss = F.l1_loss(made, truth)
    for axis in (2, 3):
        loss = loss + edge_weight * F.l1_loss(made.diff(dim=axis), truth.diff(dim=axis))
    return loss


def save_upscaler(model: CompactUpscaler, path: Path) -> None:
    """One safetensors file in fp16, written aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    aside = path.with_suffix(".part")
    aside.write_bytes(save(weights, metadata=METADATA))
    os.replace(aside, path)


def _resume(target: Path, master: Master, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    if not target.exists():
        return {"step": 0, "minutes": 0.0}
    saved = torch.load(target, weights_only=True)
    master.weights.data.copy_(saved["weights"])
    master.average.copy_(saved["average"])
    optimiser.load_state_dict(saved["optimiser"])
    return {name: saved[name] for name in ("step", "minutes")}


def _save(target: Path, master: Master, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    saved = {"weights": master.weights.detach(), "average": master.average, "optimiser": optimiser.state_dict(), **state}
    torch.save(saved, aside := target.with_suffix(".part"))
    os.replace(aside, target)


def _say(work: Path, state: dict[str, Any], seen: deque[tuple[float, float]]) -> None:
    loss, error = np.mean(seen, axis=0)
    line = {"step": state["step"], "minutes": round(state["minutes"], 2), "loss": round(float(loss), 5), "psnr": round(-10 * math.log10(error), 2)}
    print(json.dumps(line), flush=True)
    with (work / "upscaler.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.upscaler", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="of training, all runs together")
    parser.add_argument("--scenes", type=int, default=300, help="how many are drawn to learn from")
    parser.add_argument("--work", type=Path, default=Path("data/upscaler"), help="folder for pictures and checkpoints")
    parser.add_argument("--out", type=Path, default=Path("presets/upscalers/starter-x2.safetensors"))
    options = parser.parse_args()
    # One thread: on a busy machine quicker than many that wait for each other.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    pairs = load_pairs(options.work, count=options.scenes, seed=TRAINING_SEED)
    save_upscaler(train_upscaler(pairs, options.work, UpscalerPlan(minutes=options.minutes)), options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
