"""The decoder's training: from latents that never change to pictures, with more weight on what people look at, the subject."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch.nn import functional as F

from engine.starter.autoencoder import psnr
from engine.starter.checkpoints import write_checkpoint
from engine.starter.crops import Crops
from engine.starter.unet import Master, StopFlag, rate_at

CHECKPOINT = "decoder.pt"
CURVE = "decoder.jsonl"


@dataclass(frozen=True)
class DecoderPlan:
    """The stage ends after `minutes`, or after `steps` where that is given."""

    minutes: float = 0.0
    steps: int | None = None
    batch: int = 8
    crop: int = 128
    learning_rate: float = 8e-4
    cooldown: float = 0.5
    # How much more a pixel of the subject counts than one of the sky.
    subject_weight: float = 4.0
    # Spread of the noise that some clean latents get.
    noise: float = 0.04
    # The part of each batch that comes as the denoiser leaves it (engine/starter/walked.py).
    walked_share: float = 0.0
    ema: float = 0.999
    seed: int = 5
    say_every: int = 200
    compiled: bool = True


def train_decoder(vae: AutoencoderTiny, work: Path, plan: DecoderPlan) -> AutoencoderTiny:
    """Train on crops of `work/scenes.npy` (and `masks.npy`); returns `vae` with averaged decoder weights.

    Goes on from `work/decoder.pt` and leaves its newest state there; adds a line to `work/decoder.jsonl` now and then. The encoder stays.
    """
    stop: Any = StopFlag()
    torch.manual_seed(plan.seed)
    crops = Crops(
        work, batch=plan.batch, crop=plan.crop, walked_share=plan.walked_share, subject_weight=plan.subject_weight, noise=plan.noise, seed=plan.seed
    )
    for parameter in vae.encoder.parameters():
        parameter.requires_grad_(False)
    decoder: Any = vae.decoder
    master = Master(decoder, ema=plan.ema)
    optimiser = torch.optim.AdamW([master.weights], lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=1e-4)
    state = _resume(work / CHECKPOINT, master, optimiser)
    decoder.to(memory_format=torch.channels_last)
    run: Any = torch.compile(decoder) if plan.compiled else decoder
    started, saved, before = time.monotonic(), time.monotonic(), state["minutes"]
    losses: deque[float] = deque(maxlen=200)
    while not stop.is_set:
        state["minutes"] = before + (time.monotonic() - started) / 60
        share = state["step"] / plan.steps if plan.steps is not None else state["minutes"] / plan.minutes
        if share >= 1:
            break
        optimiser.param_groups[0]["lr"] = plan.learning_rate * rate_at(share, state["step"], plan.cooldown)
        lesson = crops.lesson(state["step"])
        with torch.no_grad():
            latents = torch.cat([lesson.walked, vae.encoder(lesson.truth[len(lesson.walked) :]) + lesson.noise])
        with torch.autocast("cpu", torch.bfloat16):
            made = run(latents.contiguous(memory_format=torch.channels_last))
        loss = picture_loss(made.float(), lesson.truth, lesson.weight)
        loss.backward()
        master.weights.grad = master.gather()
        torch.nn.utils.clip_grad_norm_([master.weights], 1.0)
        optimiser.step()
        master.scatter()
        state["step"] += 1
        master.update_average(state["step"])
        losses.append(loss.item())
        if state["step"] % plan.say_every == 0:
            _say(work, state, float(np.mean(losses)), vae, master, crops)
        if time.monotonic() - saved > 120:
            _save(work / CHECKPOINT, master, optimiser, state, plan)
            saved = time.monotonic()
    _save(work / CHECKPOINT, master, optimiser, state, plan)
    master.scatter(master.average)
    decoder.to(memory_format=torch.contiguous_format)
    vae.eval()
    return vae


def picture_loss(made: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """L1, squares, and L1 of the gradients, each pixel by its `weight` (B, 1, H, W): sharp edges are what makes a drawing."""
    error = made - truth
    loss = (weight * (error.abs() + 2 * error.square())).mean()
    for axis in (2, 3):
        size = truth.shape[axis] - 1
        loss = loss + 0.5 * (weight.narrow(axis, 1, size) * error.diff(dim=axis).abs()).mean()
    return loss + 0.5 * F.l1_loss(F.avg_pool2d(made, 4), F.avg_pool2d(truth, 4))


def _resume(target: Path, master: Master, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    if not target.exists():
        return {"step": 0, "minutes": 0.0}
    saved = torch.load(target, weights_only=True)
    master.weights.data.copy_(saved["weights"])
    master.average.copy_(saved["average"])
    optimiser.load_state_dict(saved["optimiser"])
    master.scatter()
    return {name: saved[name] for name in ("step", "minutes")}


def _save(target: Path, master: Master, optimiser: torch.optim.Optimizer, state: dict[str, Any], plan: DecoderPlan) -> None:
    write_checkpoint(
        target, {"weights": master.weights.detach(), "average": master.average, "optimiser": optimiser.state_dict(), "plan": asdict(plan), **state}
    )


def _say(work: Path, state: dict[str, Any], loss: float, vae: AutoencoderTiny, master: Master, crops: Crops) -> None:
    """A line of the curve, of the averaged weights on scenes that are never trained on."""
    master.scatter(master.average)
    fresh, masks = crops.fresh(16)
    line = {"step": state["step"], "minutes": round(state["minutes"], 2), "loss": round(loss, 4)}
    line.update(psnr=round(psnr(vae, fresh), 2), subject_psnr=round(psnr(vae, fresh, masks), 2))
    if (walked := crops.fresh_walked(16)) is not None:
        line["walked_subject_psnr"] = round(psnr(vae, *walked), 2)
    master.scatter()
    print(json.dumps(line), flush=True)
    with (work / CURVE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
