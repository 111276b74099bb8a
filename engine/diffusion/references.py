"""Reference pictures on a loaded model (IP-Adapter, Ye et al. 2023): in for one run, out without a trace.

Each reference has a place of its own in the model's cross-attention, also where two share an adapter, so each keeps its
weight and window:

    out = Attention(Q, K, V) + Σᵢ λᵢ · Attention(Q, K'ᵢ, V'ᵢ)                                     (their eq. 5, once for each)

which is diffusers with several adapters, or with one adapter, several pictures and masks of ones. Nothing about a
reference is kept in the model between calls: what is shown travels with the words (`conditioning.Told`), and a call that
shows nothing is the plain model's, bit for bit.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.embeddings import ImageProjection
from safetensors import SafetensorError, safe_open
from safetensors.torch import load

from engine.contract.errors import DamagedFile, EngineError, IncompatibleAdapter
from engine.contract.references import ReferenceUse
from engine.diffusion.conditioning import Embeds, Seen, Told, tell
from engine.diffusion.image_encoder import ImageEncoder, load_image_encoder
from engine.diffusion.images import Rgb, read_rgb
from engine.diffusion.loading import Components
from engine.diffusion.parts import Stay
from engine.diffusion.reading import file_bytes
from engine.weights.headers import judge_header

_FILES_KEPT = 2
_TOKENS_KEPT = 64
_PARTS = ("image_proj", "ip_adapter")
# What the image encoder is called beside the parts of a model.
_ENCODER = "image encoder"


@dataclass(frozen=True)
class Reference:
    """One use with its picture's file, its adapter's file and the folder of its image encoder."""

    use: ReferenceUse
    picture: Path
    adapter: Path
    encoder: Path


@dataclass(frozen=True)
class Shown:
    """What an adapter makes of a picture, (1, n, dim), and of none. `use` says when and how much it counts."""

    use: ReferenceUse
    tokens: torch.Tensor
    nothing: torch.Tensor


@dataclass(frozen=True)
class Illustrated:
    """Words with reference pictures beside them, for a walk: `count` pictures at once, the negative half first if there is one."""

    words: Embeds
    shown: tuple[Shown, ...]
    count: int

    def __call__(self, index: int, total: int) -> Told:
        told = tell(self.words, index, total)
        has_negative = len(told) > self.count
        seen = [
            Seen(place, _rows(one, self.count, has_negative), weight)
            for place, one in enumerate(self.shown)
            if (weight := one.use.weight_at(index, total))
        ]
        return replace(told, seen=tuple(seen))


def _rows(shown: Shown, count: int, has_negative: bool) -> torch.Tensor:
    # The negative half looks at no picture, as in diffusers.
    halves = [shown.nothing, shown.tokens] if has_negative else [shown.tokens]
    return torch.cat([half.expand(count, -1, -1) for half in halves])


@dataclass(frozen=True)
class _File:
    """An adapter's file in CPU memory, in diffusers' two tables."""

    digest: str
    projection: dict[str, torch.Tensor]
    layers: dict[str, torch.Tensor]
    # Where the model that it was made for carries style, if the file says so: what the names of those layers begin with.
    style: str | None


class ReferenceShelf:
    """Adapter files, one image encoder and what was made of pictures, newest last: a repeated picture costs no encoder run."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, _File] = OrderedDict()
        self._tokens: OrderedDict[tuple[object, ...], tuple[torch.Tensor, torch.Tensor]] = OrderedDict()
        self._encoder: ImageEncoder | None = None
        # Where it is counted: with the model for which it was read.
        self._stay: Stay | None = None

    @contextmanager
    def applied(self, components: Components, references: Sequence[Reference]) -> Generator[tuple[Shown, ...]]:
        """The model with these adapters in, and what to show it. Afterwards it is bit for bit what it was.

        Raises `DamagedFile` or `IncompatibleAdapter` about the control "references", with the model untouched.
        """
        if not references:
            yield ()
            return
        unet: Any = components.unet
        components.use(components.family.network)
        files = [self._file(reference) for reference in references]
        looking = _convert(unet, files, [reference.adapter.stem for reference in references])
        shown = tuple(Shown(reference.use, *self._look(components, reference, file)) for reference, file in zip(references, files, strict=True))
        shares = [_style_layers(unet, file.style) if reference.use.style_only else None for reference, file in zip(references, files, strict=True)]
        plain = dict(unet.attn_processors)
        try:
            for name, processor in looking.items():
                # What is put in is new: it has to come to where the model is, in the model's own type.
                processor.to(device=components.device, dtype=components.dtype).requires_grad_(False)
                own = tuple(1.0 if share is None or name.startswith(share) else 0.0 for share in shares)
                _layer(unet, name).set_processor(_Look(plain[name], processor, own))
            yield shown
        finally:
            for name in looking:
                _layer(unet, name).set_processor(plain[name])

    def _file(self, reference: Reference) -> _File:
        """The file, if it is the one that the recipe names."""
        path, wanted = reference.adapter, reference.use.hash
        known = self._files.get(path)
        if known is None or (wanted is not None and known.digest != wanted):
            known = self._files[path] = _read(path)
            while len(self._files) > _FILES_KEPT:
                self._files.popitem(last=False)
        self._files.move_to_end(path)
        if wanted is not None and known.digest != wanted:
            message = f"The file of the reference adapter {path.stem} has changed since this was asked for."
            raise DamagedFile(message, "Press Generate again.", "references")
        return known

    def _look(self, components: Components, reference: Reference, file: _File) -> tuple[torch.Tensor, torch.Tensor]:
        key = (reference.use.image, file.digest, reference.encoder, reference.use.image_encoder_hash, components.dtype, components.device)
        if key not in self._tokens:
            encoder = self._encoder_of(components, reference.encoder)
            self._tokens[key] = make_tokens(components, encoder, file.projection, _read_picture(reference.picture), reference.adapter.stem)
            while len(self._tokens) > _TOKENS_KEPT:
                self._tokens.popitem(last=False)
        self._tokens.move_to_end(key)
        return self._tokens[key]

    def _encoder_of(self, components: Components, folder: Path) -> ImageEncoder:
        known = self._encoder
        if known is None or known.folder != folder or known.model.dtype != components.dtype:
            # Let go first: two at once may not fit.
            self._encoder = None
            if self._stay is not None:
                self._stay.forget([_ENCODER])
            self._stay = components.stay
            if self._stay is not None:
                self._stay.make_room(file_bytes(folder))
            self._encoder = load_image_encoder(folder, device=components.device, dtype=components.dtype)
            if self._stay is not None:
                dtype = components.dtype
                self._stay.hold(_ENCODER, self._encoder.model, lambda device: load_image_encoder(folder, device=device, dtype=dtype).model)
        assert self._encoder is not None
        if self._stay is not None:
            self._stay.bring(_ENCODER)
        return self._encoder


class _Look:
    """Cross-attention that also looks at pictures: diffusers' own processors, chosen by what the call brings.

    No module: it adds nothing to the model's weights, and adapters that search the model do not find it. `shares` says
    how much of each reference's weight this layer takes.
    """

    def __init__(self, plain: Any, looking: Any, shares: tuple[float, ...]) -> None:
        self._plain = plain
        self._looking = looking
        self._shares = shares

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        ip_hidden_states: tuple[Seen, ...] = (),
    ) -> torch.Tensor:
        seen = {one.place: one for one in ip_hidden_states if one.weight * self._shares[one.place]}
        if not seen:
            return self._plain(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        places = range(len(self._shares))
        self._looking.scale = [seen[place].weight * self._shares[place] if place in seen else 0.0 for place in places]
        # A reference that does not count here is passed over by its weight of zero; its place is still to be filled.
        tokens = [seen[place].tokens[:, None] if place in seen else None for place in places]
        return self._looking(attn, hidden_states, (encoder_hidden_states, tokens), attention_mask, temb)


def make_tokens(
    components: Components, encoder: ImageEncoder, projection: dict[str, torch.Tensor], image: Rgb, title: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the projection makes of a picture and of none: (1, n, dim) each. Raises `DamagedFile` or `IncompatibleAdapter`."""
    unet: Any = components.unet
    try:
        module = unet._convert_ip_adapter_image_proj_to_diffusers(dict(projection), low_cpu_mem_usage=False)
        module = module.eval().requires_grad_(False).to(device=components.device, dtype=components.dtype)
        shown, empty = encoder.embed(image, patches=not isinstance(module, ImageProjection))
        with torch.inference_mode():
            nothing, tokens = module(torch.cat([empty, shown]).to(components.dtype)).split(1)
    except (ValueError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise _unfit(title) from error
    if not (torch.isfinite(tokens).all() and torch.isfinite(nothing).all()):
        raise DamagedFile(f"The reference adapter {title} gives values that are no numbers.", "Choose another one.", "references")
    return tokens, nothing


def _read(path: Path) -> _File:
    try:
        judge_header(path)
        data = path.read_bytes()
        tensors = load(data)
        with safe_open(path, "pt") as file:
            notes: dict[str, str] = file.metadata() or {}
    except (EngineError, SafetensorError, OSError, ValueError) as error:
        message = f"The reference adapter {path.stem} is damaged or no safetensors file."
        raise DamagedFile(message, "Download it again, or choose another one.", "references") from error
    if not all(torch.isfinite(matrix).all() for matrix in tensors.values()):
        message = f"The reference adapter {path.stem} holds values that are no numbers."
        raise DamagedFile(message, "Download it again, or choose another one.", "references")
    parts = {part: {key.removeprefix(f"{part}."): value for key, value in tensors.items() if key.startswith(f"{part}.")} for part in _PARTS}
    if not all(parts.values()):
        raise _unfit(path.stem)
    return _File(hashlib.sha256(data).hexdigest(), parts["image_proj"], parts["ip_adapter"], notes.get("style_layers"))


def _convert(unet: Any, files: list[_File], titles: list[str]) -> dict[str, Any]:
    """A processor for each cross-attention layer, by its name, with one place for each file. Nothing is put in yet."""
    widths = _layer_widths(unet)
    for file, title in zip(files, titles, strict=True):
        layers = sorted({int(key.split(".")[0]) for key in file.layers if key.split(".")[0].isdigit()})
        shapes = [tuple(file.layers[f"{number}.to_k_ip.weight"].shape) for number in layers if f"{number}.to_k_ip.weight" in file.layers]
        if shapes != list(widths.values()):
            raise _unfit(title)
    states = [{"image_proj": file.projection, "ip_adapter": file.layers} for file in files]
    try:
        made = unet._convert_ip_adapter_attn_to_diffusers(states, low_cpu_mem_usage=False)
    except (ValueError, KeyError, IndexError, RuntimeError, AttributeError) as error:
        raise _unfit(titles[0] if len(titles) == 1 else " or ".join(titles)) from error
    return {name: made[name] for name in widths}


def _layer_widths(unet: Any) -> dict[str, tuple[int, int]]:
    """(layer width, text width) of each cross-attention layer, by the name of its processor, in the model's order."""
    layers = {name: _layer(unet, name) for name in unet.attn_processors if name.endswith("attn2.processor")}
    return {name: (layer.inner_kv_dim, layer.cross_attention_dim) for name, layer in layers.items()}


def _layer(unet: Any, name: str) -> Any:
    return unet.get_submodule(name.removesuffix(".processor"))


def _style_layers(unet: Any, said: str | None) -> str:
    """Names of the layers that carry style begin with this: `said` by the adapter's file, or the first block on the way up that looks at words.

    InstantStyle (Wang et al. 2024) found it in SDXL, and takes its place in Stable Diffusion 1 likewise.
    """
    names = list(_layer_widths(unet))
    if said and any(name.startswith(said) for name in names):
        return said
    return next(name for name in names if name.startswith("up_blocks.")).split(".attentions.")[0] + "."


def _read_picture(path: Path) -> Rgb:
    try:
        return read_rgb(path)
    except DamagedFile as error:
        raise DamagedFile("A reference picture cannot be read any more.", "Choose it again.", "references") from error


def _unfit(title: str) -> IncompatibleAdapter:
    return IncompatibleAdapter(
        f"The reference adapter {title} does not fit this model.", "Choose another one, or a model that it was made for.", "references"
    )
