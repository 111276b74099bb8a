"""The starter's own controls: `python -m engine.starter.control --kind edges`. The base model stays frozen; one process, one thread."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from safetensors.torch import save
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from engine.contract.errors import DamagedFile
from engine.diffusion.control_lora import CHANNELS_KEY, KIND, NEW_PARTS, compress_control
from engine.starter.checkpoints import check_checkpoint, write_checkpoint
from engine.starter.control_maps import DEPTH_FILE, draw_depths, rough_depth, rough_edges
from engine.starter.dataset import load_dataset
from engine.starter.recipes import RECIPES
from engine.starter.text_encoder import tokenize
from engine.starter.unet import SCHEDULE, Captions, Master, StopFlag, noisy, rate_at

TITLES = {"edges": "Starter edges: lines of a drawing", "depth": "Starter depth: what is near and what is far"}
NOTES = {
    "edges": "White lines on black, as Canny finds them or as a hand draws them. Trained on drawn scenes.",
    "depth": "Near is white, far is black, as MiDaS and Depth Anything draw it. Trained on the exact depth of drawn scenes.",
}
PREPROCESSORS = {"edges": "canny", "depth": "depth"}


@dataclass(frozen=True)
class ControlPlan:
    """The training ends after `minutes`, or after `steps` where that is given. The last `held_out` scenes are kept for measuring."""

    kind: str
    minutes: float = 0.0
    steps: int | None = None
    batch: int = 8
    learning_rate: float = 2e-3
    cooldown: float = 0.4
    dropout: float = 0.4
    rank: int = 32
    channels: tuple[int, ...] = (8, 16, 32, 64)
    ema: float = 0.998
    seed: int = 5
    held_out: int = 64
    say_every: int = 50
    measure_every: int = 200
    save_every_s: float = 180
    compiled: bool = True


class Factors(nn.Module):
    """What is trained, in float32: a low-rank pair beside each frozen weight of the copied encoder, and the new parts whole.

    The pairs are multiplied out before each step, so the network that runs is an ordinary ControlNet and costs nothing more.
    The feed-forwards of the copy stay the base model's: they are a fifth of its size and mix channels only.
    """

    def __init__(self, control: ControlNetModel, *, rank: int, seed: int) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(seed)
        self._base: dict[str, torch.Tensor] = {}
        self._targets: dict[str, nn.Parameter] = {}
        self.whole, self.up, self.down = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for name, parameter in control.named_parameters():
            value, key = parameter.detach().float().contiguous().clone(), name.replace(".", "|")
            is_new = name.startswith(NEW_PARTS)
            parameter.requires_grad_(is_new or (value.ndim > 1 and ".ff." not in name))
            if not parameter.requires_grad:
                continue
            self._targets[name] = parameter
            if is_new:
                self.whole[key] = nn.Parameter(value)
                continue
            rows, columns = value.flatten(1).shape
            inner = min(rank, rows, columns)
            self._base[name] = value
            self.up[key] = nn.Parameter(torch.zeros(rows, inner))
            self.down[key] = nn.Parameter(torch.randn(inner, columns, generator=chance) / columns**0.5)

    def weights(self) -> dict[str, torch.Tensor]:
        """Whole weights by the control's own names."""
        made: dict[str, torch.Tensor] = {}
        for name in self._targets:
            key = name.replace(".", "|")
            made[name] = self.whole[key] if key in self.whole else self._base[name] + (self.up[key] @ self.down[key]).view_as(self._base[name])
        return made

    @torch.no_grad()
    def write(self) -> None:
        """Into the control, in its own dtype."""
        for name, weight in self.weights().items():
            self._targets[name].copy_(weight)

    def read_gradients(self) -> None:
        """From the control's weights to the factors, by the chain rule; the control's own gradients are cleared."""
        weights = self.weights()
        gradients: list[torch.Tensor] = []
        for name in weights:
            gradient = self._targets[name].grad
            assert gradient is not None, name
            gradients.append(gradient.float())
            self._targets[name].grad = None
        torch.autograd.backward(list(weights.values()), gradients)


class Guided(nn.Module):
    """The frozen denoiser with a control beside it: (B, 8, h, w) noisy latents and (B, 3, H, W) maps in [0, 1] → (B, 8, h, w) prediction."""

    def __init__(self, unet: UNet2DConditionModel, control: ControlNetModel) -> None:
        super().__init__()
        self.unet: Any = unet
        self.control: Any = control

    def forward(self, sample: torch.Tensor, timesteps: torch.Tensor, embeds: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        down, mid = self.control(sample, timesteps, encoder_hidden_states=embeds, controlnet_cond=maps, return_dict=False)
        words = {"encoder_hidden_states": embeds, "return_dict": False}
        return self.unet(sample, timesteps, down_block_additional_residuals=down, mid_block_additional_residual=mid, **words)[0]


def load_unet(model: Path) -> UNet2DConditionModel:
    """The frozen denoiser of a model folder, bfloat16."""
    unet: Any = UNet2DConditionModel.from_pretrained(model / "unet", torch_dtype=torch.bfloat16, use_safetensors=True, local_files_only=True)
    return unet.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def fresh_control(unet: UNet2DConditionModel, channels: tuple[int, ...], maps: torch.Tensor, *, seed: int) -> ControlNetModel:
    """A copy of the encoder that says nothing yet, in the UNet's dtype. `maps` (B, 3, H, W) in [0, 1] are a sample of what it will see."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
        embedding: Any = control.controlnet_cond_embedding
        _awaken([embedding.conv_in, *embedding.blocks, embedding.conv_out], maps.float())
    made: Any = nn.Module.to(control, dtype=unet.dtype)
    return made.to(memory_format=torch.channels_last).train()


@torch.no_grad()
def _awaken(layers: list[nn.Conv2d], maps: torch.Tensor) -> None:
    """Scale and shift each channel to mean 0 and spread 1 on the sample (Salimans & Kingma 2016, arXiv:1602.07868, section 3).

    With the usual start thin lines fade to nothing on their way through eight layers, and the control stays blind for thousands of pictures.
    Silent it is all the same: the convolutions that lead out of it are zero.
    """
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight)
        made = nn.functional.conv2d(maps, layer.weight, stride=layer.stride, padding=layer.padding)
        spread, mean = torch.std_mean(made, dim=(0, 2, 3))
        layer.weight /= spread.clamp(min=1e-3)[:, None, None, None]
        bias: Any = layer.bias
        bias.copy_(-mean / spread.clamp(min=1e-3))
        maps = nn.functional.silu(layer(maps))


class ControlData:
    """Latents, words and maps of the training scenes, each as it is or mirrored."""

    def __init__(self, work: Path, plan: ControlPlan) -> None:
        self._images, labels, degraded = load_dataset(work)
        self._latents = np.load(work / "latents-256.npy", mmap_mode="r")
        self._depths = np.load(work / DEPTH_FILE, mmap_mode="r") if plan.kind == "depth" else None
        self._captions = Captions(labels, degraded, plan.dropout)
        self._tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
        self._encoder: Any = CLIPTextModel.from_pretrained(work / "text_encoder", dtype=torch.bfloat16).eval()
        self._plan = plan
        # A spoilt picture has no edges worth following.
        sound = np.flatnonzero(~degraded[: len(self._images if self._depths is None else self._depths)])
        self._rows, self.held_out = sound[: -plan.held_out], sound[-plan.held_out :]
        self._empty = self._encode([""])[0]

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of this step: (B, 8, h, w) float32 latents, (B, 77, dim) embeddings, (B, 3, H, W) maps, noise like the latents, (B,) timesteps.

        All chance comes from the step's own seed, so a resumed run goes on as if it had never stopped.
        """
        plan = self._plan
        rng = np.random.default_rng([plan.seed, step])
        rows = self._rows[rng.integers(0, len(self._rows), plan.batch)]
        return self.of(rows, rng.random(plan.batch) < 0.5, rng)

    def of(self, rows: Any, mirrored: Any, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same for chosen scenes. Timesteps are stratified: each batch covers the whole range evenly."""
        chance = torch.Generator().manual_seed(int(rng.integers(2**62)))
        places = rows + len(self._images) * mirrored
        latents = torch.from_numpy(np.stack([self._latents[place] for place in places]).astype(np.float32))
        embeds = self._embeds([self._captions.of(int(place), rng) for place in places])
        maps = np.stack([self._map(int(row), bool(turn), rng) for row, turn in zip(rows, mirrored, strict=True)])
        noise = torch.randn(latents.shape, generator=chance)
        timesteps = (torch.arange(len(rows)) + torch.rand((), generator=chance)) / len(rows) * 1000
        return latents, embeds, to_maps(maps), noise, timesteps.long().clamp(0, 999)

    def _map(self, row: int, mirrored: bool, rng: np.random.Generator) -> Any:
        made = rough_edges(np.asarray(self._images[row]), rng) if self._depths is None else rough_depth(np.asarray(self._depths[row]), rng)
        return made[:, ::-1] if mirrored else made

    def _embeds(self, texts: list[str]) -> torch.Tensor:
        embeds = self._empty.repeat(len(texts), 1, 1)
        said = [place for place, text in enumerate(texts) if text]
        if said:
            embeds[said] = self._encode([texts[place] for place in said])
        return embeds

    def _encode(self, texts: list[str]) -> torch.Tensor:
        with torch.no_grad():
            return self._encoder(tokenize(self._tokenizer, texts)).last_hidden_state


def to_maps(maps: Any) -> torch.Tensor:
    """(B, H, W) uint8 → (B, 3, H, W) bfloat16 in [0, 1]."""
    grey = torch.from_numpy(np.ascontiguousarray(maps).astype(np.float32) / 255).to(torch.bfloat16)
    return grey[:, None].repeat(1, 3, 1, 1).contiguous(memory_format=torch.channels_last)


def train_control(work: Path, model: Path, plan: ControlPlan) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Train and return the tensors of the averaged control and what is known of the training; goes on from `work/control-<kind>.pt`.

    Adds a line to `work/control-<kind>.jsonl` every `say_every` steps; every `measure_every` with the loss on held-out scenes.
    """
    target = work / f"control-{plan.kind}.pt"
    check_checkpoint(target)
    stop = StopFlag()
    unet = load_unet(model)
    data = ControlData(work, plan)
    control = fresh_control(unet, plan.channels, data.batch(0)[2], seed=plan.seed)
    factors = Factors(control, rank=plan.rank, seed=plan.seed)
    master = Master(factors, ema=plan.ema)
    optimiser = torch.optim.AdamW([master.weights], lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    state = _resume(target, master, optimiser)
    _show(master, factors)
    guided = Guided(unet, control)
    run: Any = torch.compile(guided) if plan.compiled else guided
    alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod
    started, saved, before = time.monotonic(), time.monotonic(), state["minutes"]
    losses: deque[float] = deque(maxlen=200)
    while not stop.is_set:
        share = state["step"] / plan.steps if plan.steps is not None else state["minutes"] / plan.minutes
        if share >= 1:
            break
        optimiser.param_groups[0]["lr"] = plan.learning_rate * rate_at(share, state["step"], plan.cooldown)
        losses.append(_step(run, factors, data.batch(state["step"]), alphas))
        master.weights.grad = master.gather()
        torch.nn.utils.clip_grad_norm_([master.weights], 1.0)
        optimiser.step()
        _show(master, factors)
        state["step"] += 1
        master.update_average(state["step"])
        state["minutes"] = before + (time.monotonic() - started) / 60
        if state["step"] % plan.say_every == 0:
            line = {"kind": plan.kind, "step": state["step"], "minutes": round(state["minutes"], 2), "loss": round(float(np.mean(losses)), 4)}
            if state["step"] % plan.measure_every == 0:
                _show(master, factors, master.average)
                line |= held_out_loss(run, data, alphas, plan.batch)
                _show(master, factors)
            _say(work, line)
        if time.monotonic() - saved > plan.save_every_s:
            _save(target, master, optimiser, state, plan)
            saved = time.monotonic()
    _save(target, master, optimiser, state, plan)
    _show(master, factors, master.average)
    with torch.no_grad():
        # The weights that ran are rounded to bfloat16; the file gets the unrounded ones.
        exact = nn.Module.to(control, dtype=torch.float32)
        exact.load_state_dict(factors.weights(), strict=False)
    return compress_control(control, unet, rank=plan.rank), {
        "step": state["step"],
        "minutes": state["minutes"],
        "samples": state["step"] * plan.batch,
    }


def _step(run: Any, factors: Factors, batch: tuple[torch.Tensor, ...], alphas: torch.Tensor) -> float:
    latents, embeds, maps, noise, timesteps = batch
    sample, goal = noisy(latents, noise, alphas, timesteps)
    answer = run(sample.to(torch.bfloat16, memory_format=torch.channels_last), timesteps, embeds, maps)
    loss = (answer.float() - goal).square().mean()
    loss.backward()
    factors.read_gradients()
    return loss.item()


@torch.no_grad()
def held_out_loss(run: Any, data: ControlData, alphas: torch.Tensor, batch: int) -> dict[str, float]:
    """Mean loss on scenes that the control never saw: with their own map, with another scene's, and with an empty one."""
    found: dict[str, list[float]] = {"own": [], "other": [], "empty": []}
    for start in range(0, len(data.held_out) - batch + 1, batch):
        rows = data.held_out[start : start + batch]
        latents, embeds, maps, noise, timesteps = data.of(rows, np.zeros(len(rows), bool), np.random.default_rng(start))
        sample, goal = noisy(latents, noise, alphas, timesteps)
        for name, shown in (("own", maps), ("other", maps.roll(1, 0)), ("empty", torch.zeros_like(maps))):
            answer = run(sample.to(torch.bfloat16, memory_format=torch.channels_last), timesteps, embeds, shown)
            found[name].append(float((answer.float() - goal).square().mean()))
    return {name: round(float(np.mean(values)), 4) for name, values in found.items()}


def _show(master: Master, factors: Factors, source: torch.Tensor | None = None) -> None:
    """Write the vector of all numbers (or `source`) into the factors, and those into the control."""
    master.scatter(source)
    factors.write()


def metadata(plan: ControlPlan, facts: dict[str, Any]) -> dict[str, str]:
    """The words of the file's header."""
    words = {
        "kind": KIND, "title": TITLES[plan.kind], "control": plan.kind, "preprocessor": PREPROCESSORS[plan.kind], "base": "sd1",
        "licence": "Apache-2.0", "rank": str(plan.rank), "note": NOTES[plan.kind],
        "training": f"{facts['samples']} pictures in {facts['minutes']:.0f} minutes on one CPU core",
    }  # fmt: skip
    return {"format": "pt", CHANNELS_KEY: ",".join(map(str, plan.channels)), **{f"easel.{name}": value for name, value in words.items()}}


def save_control(state: dict[str, torch.Tensor], words: dict[str, str], path: Path) -> None:
    """One safetensors file in fp16, written aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_bytes(save({name: value.half().contiguous() for name, value in state.items()}, metadata=words))
    os.replace(aside, path)


def _resume(target: Path, master: Master, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    if not target.exists():
        return {"step": 0, "minutes": 0.0}
    saved = torch.load(target, weights_only=True)
    if saved["weights"].shape != master.weights.shape:
        raise DamagedFile(f"The checkpoint {target.name} is of a control of another shape.", "Delete it, or train with the rank that it has.")
    master.weights.data.copy_(saved["weights"])
    master.average.copy_(saved["average"])
    optimiser.load_state_dict(saved["optimiser"])
    return {name: saved[name] for name in ("step", "minutes")}


def _save(target: Path, master: Master, optimiser: torch.optim.Optimizer, state: dict[str, Any], plan: ControlPlan) -> None:
    write_checkpoint(
        target, {"weights": master.weights.detach(), "average": master.average, "optimiser": optimiser.state_dict(), "plan": asdict(plan), **state}
    )


def _say(work: Path, line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)
    with (work / f"control-{line['kind']}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.control", description=__doc__)
    parser.add_argument("--kind", choices=sorted(TITLES), required=True)
    parser.add_argument("--minutes", type=float, default=40, help="of training, all runs together")
    parser.add_argument("--work", type=Path, default=Path("data/starter-v2"), help="folder with the drawn scenes; checkpoints are kept there")
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--out", type=Path, default=Path("presets/controlnets"))
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="starter-v2", help="whose scenes these are")
    parser.add_argument("--depths", type=int, default=8_000, help="how many scenes are drawn again for their depth")
    parser.add_argument("--batch", type=int, default=ControlPlan.batch)
    parser.add_argument("--learning-rate", type=float, default=ControlPlan.learning_rate)
    parser.add_argument("--no-compile", action="store_true", help="begin at once, and go on a little slower")
    options = parser.parse_args(arguments)
    # One thread: on a busy machine quicker than many that wait for each other.
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    plan = ControlPlan(
        options.kind, minutes=options.minutes, batch=options.batch, learning_rate=options.learning_rate, compiled=not options.no_compile
    )
    try:
        if plan.kind == "depth":
            recipe = RECIPES[options.recipe]
            draw_depths(options.work, seed=recipe.seed, count=min(options.depths, recipe.scenes), is_wide=recipe.is_wide)
        state, facts = train_control(options.work, options.model, plan)
    except DamagedFile as error:
        print(error, file=sys.stderr)
        return 1
    path = options.out / f"starter-{plan.kind}.safetensors"
    save_control(state, metadata(plan, facts), path)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB after {facts['step']} steps", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
