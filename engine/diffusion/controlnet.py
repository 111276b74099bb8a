"""ControlNets beside a loaded model (Zhang et al. 2023, arXiv:2302.05543): read once, and added at the model calls of their window.

The model itself is never changed: a control is a network of its own, whose outputs are added to what the denoiser's
encoder passes on. In float32 every value equals that of diffusers' ControlNet pipelines.
"""

from __future__ import annotations

import inspect
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import safe_open

from engine.contract.controls import ControlUse
from engine.contract.errors import DamagedFile, IncompatibleAdapter
from engine.diffusion.conditioning import Told
from engine.diffusion.control_lora import KIND, expand_control
from engine.diffusion.families.sdxl import size_inputs
from engine.diffusion.images import Rgb, fit, resize
from engine.diffusion.loading import Components
from engine.diffusion.parts import Stay
from engine.diffusion.reading import file_bytes
from engine.weights.headers import judge_header

_KEPT = 4
_HINT_LEVELS_MAX = 16
# What a folder's own settings may say differently from the model's. Everything else has to be the model's to fit at all.
_OWN_SETTINGS = ("attention_head_dim", "num_attention_heads", "controlnet_conditioning_channel_order", "global_pool_conditions")


@dataclass(frozen=True)
class Unit:
    """A loaded control, how it is used, and its map, (H, W, 3) uint8 in the size of what it lies over."""

    net: ControlNetModel
    use: ControlUse
    map: Rgb
    path: Path = Path()


@dataclass(frozen=True)
class Overlay:
    """The units of a work, before a mode has said what their maps lie over."""

    units: tuple[Unit, ...]

    def over(self, width: int, height: int) -> Overlay:
        """With every map brought to this size, as its unit says."""
        return self.redrawn(lambda unit: fit(unit.map, width, height, unit.use.fit))

    def redrawn(self, redraw: Callable[[Unit], Rgb]) -> Overlay:
        return Overlay(tuple(replace(unit, map=redraw(unit)) for unit in self.units))

    def control(self) -> Control | None:
        """For a walk that draws all of it; None without units."""
        return Control(self.units) if self.units else None

    def part(self, box: tuple[int, int, int, int], width: int, height: int) -> Control | None:
        """For a walk that draws only `box` (left, top, right, bottom), at `width` × `height`."""
        x0, y0, x1, y1 = box
        return self.redrawn(lambda unit: resize(np.ascontiguousarray(unit.map[y0:y1, x0:x1]), width, height)).control()


class Control:
    """What the units of one walk add to the denoiser. Their outputs are summed, each times its weight."""

    def __init__(self, units: tuple[Unit, ...]) -> None:
        self._units = units
        self._maps = [_to_map(unit.map).to(unit.net.dtype) for unit in units]

    def __call__(self, sample: torch.Tensor, timestep: torch.Tensor, told: Told, *, batch: int, index: int, calls: int) -> dict[str, Any]:
        """Keyword arguments for the UNet at model call `index` of `calls`; none where no unit is at work.

        `sample` is what the UNet is given, (n·batch, C, h, w) for n sets of words, without the channels that only
        inpainting checkpoints have; the last set is the conditional one.
        """
        down: list[torch.Tensor] = []
        mid: torch.Tensor | None = None
        # The nets may be anywhere before the first call; what they are given is where they work.
        self._maps = [shown.to(sample.device) for shown in self._maps]
        for unit, shown in zip(self._units, self._maps, strict=True):
            if unit.use.is_idle or not unit.use.acts_at(index, calls):
                continue
            passed, middle = _run(unit, shown, sample.to(unit.net.dtype), timestep, told, batch)
            down = [one + other for one, other in zip(down, passed, strict=True)] if down else list(passed)
            mid = middle if mid is None else mid + middle
        return {} if mid is None else {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": mid}


def _run(
    unit: Unit, shown: torch.Tensor, sample: torch.Tensor, timestep: torch.Tensor, told: Told, batch: int
) -> tuple[list[torch.Tensor], torch.Tensor]:
    net: Any = unit.net
    # One whose outputs are means over the picture, as shuffle's are, speaks to the words only: what is not asked for gets nothing.
    is_pooled = bool(net.config.global_pool_conditions)
    rows = batch if is_pooled else len(sample)
    down, mid = net(
        sample[-rows:], timestep, encoder_hidden_states=told.words[-rows:].to(net.dtype), **_sizes(net, sample[-rows:], told[-rows:]), controlnet_cond=shown.expand(rows, -1, -1, -1),
        conditioning_scale=unit.use.weight, return_dict=False,
    )  # fmt: skip
    if rows == len(sample):
        return list(down), mid
    padded = [torch.cat([torch.zeros_like(one).repeat(len(sample) // rows - 1, 1, 1, 1), one]) for one in (*down, mid)]
    return padded[:-1], padded[-1]


def _sizes(net: Any, sample: torch.Tensor, told: Told) -> dict[str, Any]:
    return size_inputs(sample, told) if net.config.addition_embed_type == "text_time" else {}


def _to_map(image: Rgb) -> torch.Tensor:
    """(H, W, 3) uint8 → (1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None] / 255


class ControlShelf:
    """Controls read for the model that is loaded, kept by file, newest last, and counted with it. Another model clears it."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._unet: UNet2DConditionModel | None = None
        self._stay: Stay | None = None
        self._nets: OrderedDict[tuple[str, str | None], ControlNetModel] = OrderedDict()

    def has(self, components: Components, path: Path, content_hash: str | None) -> bool:
        return self._unet is components.unet and (str(path), content_hash) in self._nets

    def net(self, components: Components, path: Path, content_hash: str | None) -> ControlNetModel:
        """Raises `DamagedFile` or `IncompatibleAdapter` about "controls", with the model untouched."""
        if self._unet is not components.unet:
            self._drop(len(self._nets))
            self._unet, self._stay = components.unet, components.stay
        key = (str(path), content_hash)
        if key not in self._nets:
            # Let go first: a full one is a third of its model.
            self._drop(len(self._nets) + 1 - self._kept)
            # It is read with the model's own weights beside it.
            components.use(components.family.network)
            if self._stay is not None:
                self._stay.make_room(file_bytes(path))
            self._nets[key] = load_control(path, components.unet)
            if self._stay is not None:
                self._stay.hold(control_name(path, content_hash), self._nets[key], lambda _device: load_control(path, components.unet))
        self._nets.move_to_end(key)
        return self._nets[key]

    def let_go(self, components: Components) -> None:
        """Of what was read for this model, which goes."""
        if components.family.network == "unet" and self._unet is components.unet:
            self._drop(len(self._nets))
            self._unet = self._stay = None

    def _drop(self, count: int) -> None:
        """Let go of the `count` that were used longest ago."""
        for _ in range(count):
            (path, content_hash), _ = self._nets.popitem(last=False)
            if self._stay is not None:
                self._stay.forget([control_name(Path(path), content_hash)])


def control_name(path: Path, content_hash: str | None) -> str:
    """What a control is called beside the parts of a model."""
    return f"control {path} {content_hash or ''}"


def load_control(path: Path, unet: UNet2DConditionModel) -> ControlNetModel:
    """A file or folder as a frozen ControlNet in the UNet's dtype on its device. The UNet is only read.

    Knows diffusers' names, those of the original release, and Easel's low-rank files. Raises `DamagedFile` or
    `IncompatibleAdapter` about "controls".
    """
    state, words = _read(path)
    if words.get("easel.kind") == KIND:
        return expand_control(state, words, unet)
    settings = _settings(path)
    net: Any = _skeleton(unet, state, settings, path.stem)
    if "time_embedding.linear_1.weight" not in state:
        state = _renamed(state, net.config, path.stem)
    wanted: dict[str, torch.Tensor] = net.state_dict()
    if state.keys() != wanted.keys() or any(state[name].shape != wanted[name].shape for name in wanted):
        raise _unfit(path.stem)
    # As the UNet itself is laid out on CPU: convolutions in bfloat16 are quicker so.
    layout = torch.channels_last if unet.device.type == "cpu" else torch.contiguous_format
    net.load_state_dict({name: value.to(unet.device, unet.dtype) for name, value in state.items()}, assign=True)
    return net.to(memory_format=layout).eval().requires_grad_(False)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and words of all files. Judged by their headers first, and every number looked at."""
    state: dict[str, torch.Tensor] = {}
    words: dict[str, str] = {}
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    try:
        for file in files:
            judge_header(file)
            with safe_open(file, framework="pt") as content:
                words |= content.metadata() or {}
                state |= {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (DamagedFile, OSError, ValueError) as error:
        raise _damaged(path.stem, "damaged or no safetensors file") from error
    except Exception as error:
        # The library's own exception class is private to it.
        if type(error).__name__ != "SafetensorError":
            raise
        raise _damaged(path.stem, "damaged or no safetensors file") from error
    if not state:
        raise _damaged(path.stem, "not here any more")
    if not all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point()):
        raise _damaged(path.stem, "spoilt: it holds values that are no numbers")
    return state, words


def _settings(path: Path) -> dict[str, Any]:
    """What a folder's config.json says of its own; for a single file, what is known of its kind by its name."""
    if path.is_file():
        return {"global_pool_conditions": True} if "shuffle" in path.stem.lower() else {}
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return {name: config[name] for name in _OWN_SETTINGS if name in config}
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path.name, "incomplete: its config.json cannot be read") from error


def _skeleton(unet: Any, state: Mapping[str, torch.Tensor], settings: Mapping[str, Any], title: str) -> ControlNetModel:
    """The network without weights: the encoder of this UNet, and layers that read the map as the file has them."""
    known = inspect.signature(ControlNetModel.__init__).parameters
    config = {name: value for name, value in unet.config.items() if name in known}
    # A control of an inpainting model is one of its plain sister: it does not see mask and masked picture.
    config["in_channels"] = unet.config.out_channels
    config["conditioning_embedding_out_channels"] = _hint_channels(state, title)
    try:
        # On no device: nothing is drawn at random and nothing is allocated twice.
        with torch.device("meta"):
            return ControlNetModel(**{**config, **settings})
    except (ValueError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise _unfit(title) from error


def _hint_channels(state: Mapping[str, torch.Tensor], title: str) -> tuple[int, ...]:
    """Widths of the layers that read the map: the first, then each halving."""
    part = "controlnet_cond_embedding"
    if f"{part}.conv_in.weight" in state:
        names = [f"{part}.conv_in.weight", *(f"{part}.blocks.{2 * level + 1}.weight" for level in range(_HINT_LEVELS_MAX))]
    else:
        # The original numbers every layer, those without weights too: 0, 4, 8 and 12 are the ones.
        prefix = "control_model." if any(name.startswith("control_model.") for name in state) else ""
        names = [f"{prefix}input_hint_block.{4 * level}.weight" for level in range(4)]
    channels = [int(state[name].shape[0]) for name in names if name in state and state[name].ndim == 4]
    if not channels:
        raise _unfit(title)
    return tuple(channels)


def _renamed(state: dict[str, torch.Tensor], config: Any, title: str) -> dict[str, torch.Tensor]:
    """The original release's names to diffusers'."""
    try:
        made: dict[str, torch.Tensor | None] = convert_controlnet_checkpoint(state, config)
    except (KeyError, IndexError, ValueError, AttributeError, RuntimeError) as error:
        raise _unfit(title) from error
    return {name: value for name, value in made.items() if value is not None}


def _damaged(title: str, what: str) -> DamagedFile:
    return DamagedFile(f"The control {title} is {what}.", "Copy or download it again, or turn its card off.", "controls")


def _unfit(title: str) -> IncompatibleAdapter:
    return IncompatibleAdapter(
        f"The control {title} does not fit this model.", "Turn its card off, or choose one that was made for this model.", "controls"
    )
