"""The denoiser and its training: v-prediction with zero terminal SNR, small pictures first, any number of processes."""

from __future__ import annotations

import json
import signal
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.distributed as dist
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer

from engine.starter.attributes import SceneLabels
from engine.starter.captions import caption, degraded_caption
from engine.starter.checkpoints import write_checkpoint
from engine.starter.text_encoder import tokenize

SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False, "set_alpha_to_one": True,
}  # fmt: skip
CHANNELS = (64, 128, 192, 160)
# The step of the schedule from which on the noise leaves no trace of where the subject is.
_KNOWN_BELOW = 800


@dataclass(frozen=True)
class UnetPlan:
    """One stage of the training. `size` in pixels; the stage ends after `minutes`, or after `steps` where that is given."""

    size: int
    batch: int
    learning_rate: float
    minutes: float = 0.0
    steps: int | None = None
    cooldown: float = 0.3
    dropout: float = 0.1
    ema: float = 0.999
    # How much more a latent that lies wholly on the subject counts. Not near pure noise, where nobody can know yet where it will be.
    subject_weight: float = 0.0
    seed: int = 3
    compiled: bool = True


def build_unet(channels: tuple[int, ...] = CHANNELS, *, cross_dim: int = 256, latent_channels: int = 8) -> UNet2DConditionModel:
    """A UNet of diffusers with text attention on every level but the finest."""
    levels = len(channels)
    heads: Any = tuple(c // 32 for c in channels)
    return UNet2DConditionModel(
        sample_size=32, in_channels=latent_channels, out_channels=latent_channels, layers_per_block=1, block_out_channels=channels,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (levels - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (levels - 1), "UpBlock2D"),
        cross_attention_dim=cross_dim, attention_head_dim=heads, use_linear_projection=True,
    )  # fmt: skip


def noisy(latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The noised latents and their v target (Salimans & Ho 2022, appendix D), both (B, C, h, w)."""
    alpha = alphas_cumprod[timesteps].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - alphas_cumprod[timesteps]).sqrt().view(-1, 1, 1, 1)
    return alpha * latents + sigma * noise, alpha * noise - sigma * latents


class Captions:
    """Fresh words for each picture each time: free augmentation. Mirrored pictures swap left and right."""

    def __init__(self, labels: list[SceneLabels], degraded: NDArray[np.bool_], dropout: float) -> None:
        self._labels = labels
        self._degraded = degraded
        self._dropout = dropout

    def of(self, index: int, rng: np.random.Generator) -> str:
        if rng.random() < self._dropout:
            return ""
        mirrored, index = divmod(index, len(self._labels))
        labels = self._labels[index]
        if mirrored:
            swapped = {"left": "right", "right": "left"}.get(labels.position, labels.position)
            labels = replace(labels, position=swapped)
        text = caption(labels, rng)
        return degraded_caption(text, rng) if self._degraded[index] else text


class Master:
    """Weights in one float32 vector beside the bfloat16 model: one average, one exchange of gradients, one checkpoint.

    `matrices` and `others` are views of it for the optimisers: layers between the first and the last as (out, in·k·k), and
    everything else.
    """

    def __init__(self, model: torch.nn.Module, *, ema: float) -> None:
        self._parameters = list(model.parameters())
        self.weights = torch.cat([p.detach().float().contiguous().view(-1) for p in self._parameters])
        self.average = self.weights.clone()
        self._ema = ema
        self._views: list[torch.nn.Parameter] = []
        self.matrices: list[torch.nn.Parameter] = []
        self.others: list[torch.nn.Parameter] = []
        for part, (name, parameter) in zip(self._parts(self.weights), model.named_parameters(), strict=True):
            is_matrix = parameter.ndim > 1 and not name.startswith(("conv_in.", "conv_out."))
            view = torch.nn.Parameter(part.view(parameter.shape[0], -1) if is_matrix else part)
            self._views.append(view)
            (self.matrices if is_matrix else self.others).append(view)

    def gather(self) -> torch.Tensor:
        """Gradients of the model as one float32 vector; the model's own are cleared."""
        flat = torch.cat([p.grad.float().contiguous().view(-1) for p in self._parameters if p.grad is not None])
        for parameter in self._parameters:
            parameter.grad = None
        return flat

    def hand_out(self, gradient: torch.Tensor) -> None:
        """Give each view its part of such a vector."""
        for view, part in zip(self._views, self._parts(gradient), strict=True):
            view.grad = part.view(view.shape)

    @torch.no_grad()
    def scatter(self, source: torch.Tensor | None = None) -> None:
        """Write the vector (or `source`) back into the model."""
        for parameter, part in zip(self._parameters, self._parts(self.weights if source is None else source), strict=True):
            parameter.copy_(part.view(parameter.shape))

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        # A young average would remember the random start.
        self.average.lerp_(self.weights, 1 - min(self._ema, (1 + step) / (10 + step)))

    def _parts(self, flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return flat.split([parameter.numel() for parameter in self._parameters])


def build_optimisers(master: Master, rate: float) -> tuple[torch.optim.Optimizer, ...]:
    """Muon (Jordan et al. 2024) for the matrices, at steps as large as AdamW's would be (Liu et al. 2025); AdamW for the rest.

    From the bundled weights, after nine minutes of one core each, down to a rate of nothing: loss on fresh scenes .2227 with Muon,
    .2237 with AdamW alone, .2232 before. A step costs an eighth more.
    """
    return (
        torch.optim.Muon(master.matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(master.others, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, foreach=True),
    )


def train_unet(work: Path, plan: UnetPlan, *, start_from: Path | None, rank: int = 0, world: int = 1, device: str = "cpu") -> None:
    """Run one stage and leave `work/unet-<size>.pt`; goes on from that file if it is there, else from `start_from`:
    the average of a checkpoint, or the UNet of a model folder.
    """
    stop = StopFlag()
    torch.manual_seed(plan.seed)
    data = _Data(work, plan)
    model: Any = build_unet()
    model.to(device)
    master = Master(model, ema=plan.ema)
    optimisers = build_optimisers(master, plan.learning_rate)
    target = work / f"unet-{plan.size}.pt"
    state = _resume(target, master, optimisers, start_from)
    model = model.to(torch.bfloat16, memory_format=torch.channels_last)
    master.scatter()
    run: Any = torch.compile(model) if plan.compiled else model
    alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod.to(device)
    started, saved, before = time.monotonic(), time.monotonic(), state["minutes"]
    losses: deque[float] = deque(maxlen=200)
    while True:
        state["minutes"] = before + (time.monotonic() - started) / 60
        share, must_stop = _agree(state["minutes"], plan, state["step"], stop.is_set, world)
        if share >= 1 or must_stop:
            break
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = plan.learning_rate * rate_at(share, state["step"], plan.cooldown)
        latents, embeds, noise, timesteps, weight = (x.to(device) for x in data.batch([plan.seed, rank, state["step"]]))
        sample, goal = noisy(latents, noise, alphas, timesteps)
        answer = run(sample.to(torch.bfloat16, memory_format=torch.channels_last), timesteps, encoder_hidden_states=embeds, return_dict=False)[0]
        error = (answer.float() - goal).square().mean(1)
        ((error * weight).sum() / weight.sum()).backward()
        gradient = master.gather()
        if world > 1:
            dist.all_reduce(gradient)
            gradient /= world
        master.hand_out(gradient / gradient.norm().clamp(min=1))
        for optimiser in optimisers:
            optimiser.step()
        master.scatter()
        state["step"] += 1
        state["samples"] += plan.batch * world
        if state["step"] % 4 == 0:
            master.update_average(state["step"] // 4)
        losses.append(error.detach().mean().item())
        if rank == 0 and state["step"] % 50 == 0:
            _say(work, plan, state, float(np.mean(losses)))
        if rank == 0 and time.monotonic() - saved > 240:
            _save(target, master, optimisers, state, plan)
            saved = time.monotonic()
    if rank == 0:
        _save(target, master, optimisers, state, plan)


class StopFlag:
    """Ctrl+C and SIGTERM end the stage after the current step, with a checkpoint."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._set)

    def _set(self, *_: object) -> None:
        self.is_set = True


class _Data:
    def __init__(self, work: Path, plan: UnetPlan) -> None:
        self._latents = np.load(work / f"latents-{plan.size}.npy", mmap_mode="r")
        plain = [json.loads(line) for line in (work / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
        degraded = np.array([one.pop("is_degraded") for one in plain])
        self._captions = Captions([SceneLabels(**one) for one in plain], degraded, plan.dropout)
        self._tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
        self._encoder = CLIPTextModel.from_pretrained(work / "text_encoder", dtype=torch.bfloat16).eval()
        self._batch = plan.batch
        self._subject_weight = plan.subject_weight
        self._masks = np.load(work / "masks.npy", mmap_mode="r") if plan.subject_weight else None

    def batch(self, seed: list[int]) -> tuple[torch.Tensor, ...]:
        """(B, 8, h, w) float32 latents, (B, 77, dim) bfloat16 embeddings, noise like the latents, (B,) timesteps, (B, h, w) weights of the loss.

        All chance of a step comes from its own seed, so a resumed run goes on as if it had never stopped. Timesteps are
        stratified: each batch covers the whole range evenly.
        """
        rng = np.random.default_rng(seed)
        chance = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rows = rng.integers(0, len(self._latents), self._batch)
        latents = torch.from_numpy(np.stack([self._latents[row] for row in rows]).astype(np.float32))
        texts = [self._captions.of(int(row), rng) for row in rows]
        noise = torch.randn(latents.shape, generator=chance)
        timesteps = (torch.arange(len(latents)) + torch.rand((), generator=chance)) / len(latents) * 1000
        with torch.no_grad():
            embeds = self._encoder(tokenize(self._tokenizer, texts)).last_hidden_state
        timesteps = timesteps.long().clamp(0, 999)
        return latents, embeds, noise, timesteps, self._weights(rows, latents.shape[2], timesteps)

    def _weights(self, rows: NDArray[Any], side: int, timesteps: torch.Tensor) -> torch.Tensor:
        if self._masks is None:
            return torch.ones(len(rows), side, side)
        masks = torch.from_numpy(np.stack([self._mask(int(row), side) for row in rows]))
        return 1 + self._subject_weight * masks * (timesteps < _KNOWN_BELOW).view(-1, 1, 1)

    def _mask(self, row: int, side: int) -> NDArray[np.float32]:
        """Where the subject is in the latents of this row, 0 to 1; the second half of the rows are mirrored."""
        assert self._masks is not None
        mirrored, index = divmod(row, len(self._masks))
        mask = cv2.resize(np.asarray(self._masks[index]), (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray((mask[:, ::-1] if mirrored else mask) / 255, dtype=np.float32)


def _agree(minutes: float, plan: UnetPlan, step: int, must_stop: bool, world: int) -> tuple[float, bool]:
    """How much of the stage is done and whether to stop, by the first process's clock and anyone's wish."""
    share = step / plan.steps if plan.steps is not None else minutes / plan.minutes
    if world == 1:
        return share, must_stop
    words = torch.tensor([share if dist.get_rank() == 0 else 0.0, float(must_stop)])
    dist.all_reduce(words)
    return float(words[0]), bool(words[1])


def rate_at(share: float, step: int, cooldown: float) -> float:
    """Warm up over 100 steps, hold, then fall in a straight line to nearly nothing."""
    return min(1.0, (step + 1) / 100) * min(1.0, (1 - share) / cooldown + 0.01)


def _resume(target: Path, master: Master, optimisers: tuple[torch.optim.Optimizer, ...], start_from: Path | None) -> dict[str, Any]:
    if target.exists():
        saved = torch.load(target, weights_only=True)
        master.weights.copy_(saved["weights"])
        master.average.copy_(saved["average"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        return {name: saved[name] for name in ("step", "samples", "minutes")}
    if start_from is not None:
        average = flat_weights(start_from)
        master.weights.copy_(average)
        master.average.copy_(average)
    return {"step": 0, "samples": 0, "minutes": 0.0}


def flat_weights(source: Path) -> torch.Tensor:
    """The averaged weights of a checkpoint, or those of a model folder's UNet, as one float32 vector."""
    if source.is_file():
        return torch.load(source, weights_only=True)["average"]
    unet: Any = UNet2DConditionModel.from_pretrained(source, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True)
    return torch.cat([parameter.detach().contiguous().view(-1) for parameter in unet.parameters()])


def _save(target: Path, master: Master, optimisers: tuple[torch.optim.Optimizer, ...], state: dict[str, Any], plan: UnetPlan) -> None:
    states = [optimiser.state_dict() for optimiser in optimisers]
    write_checkpoint(target, {"weights": master.weights, "average": master.average, "optimisers": states, "plan": asdict(plan), **state})


def _say(work: Path, plan: UnetPlan, state: dict[str, Any], loss: float) -> None:
    line = {"size": plan.size, "step": state["step"], "samples": state["samples"], "minutes": round(state["minutes"], 2), "loss": round(loss, 4)}
    print(json.dumps(line), flush=True)
    with (work / "curve.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
