"""Another VAE in the place of a model's own, for one run. The model itself is left as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from engine.contract.errors import DamagedFile
from engine.diffusion.device import unless_memory_ran_out
from engine.diffusion.loading import Components, settled
from engine.diffusion.parts import Stay
from engine.diffusion.preview import NO_PREVIEW, measure_preview
from engine.diffusion.reading import file_bytes, one_at_a_time
from engine.weights.fingerprints import VAE_AT, part_at, under
from engine.weights.headers import judge_header
from engine.weights.single_files import read_vae, settings_of
from engine.weights.stamps import Stamp

_Key = tuple[str, int, Path, tuple[Stamp, ...], str]


class VaeShelf:
    """Keeps the one that was used last, counted with the model that it was read for."""

    def __init__(self) -> None:
        self._key: _Key | None = None
        self._vae: Any = None
        self._stay: Stay | None = None

    def has(self, components: Components, path: Path) -> bool:
        return self._key == _key(components, path)

    def on(self, components: Components, path: Path | None) -> Components:
        """The model with this VAE; None leaves it as it is. Raises `DamagedFile` about the control "vae"."""
        if path is None:
            return components
        key = _key(components, path)
        if self._key != key:
            self._let_go()
            self._read(components, path)
            self._key = key
        preview = components.preview
        changed = replace(components, parts={**components.parts, "vae": self._vae})
        if preview is not NO_PREVIEW:
            return changed
        if components.stay is not None:
            components.stay.bring(vae_name(path))
        return replace(changed, preview=measure_preview(components.family.latents, self._vae))

    def _read(self, components: Components, path: Path) -> None:
        folder, dtype = components.folder, components.dtype
        if components.stay is not None:
            components.stay.make_room(file_bytes(path))
        self._vae = _load(path, folder, dtype, components.device)
        self._stay = components.stay
        if self._stay is not None:
            self._stay.hold(vae_name(path), self._vae, lambda device: _load(path, folder, dtype, device))

    def _let_go(self) -> None:
        if self._stay is not None and self._key is not None:
            self._stay.forget([vae_name(Path(self._key[0]))])
        self._key = self._vae = self._stay = None


def vae_name(path: Path) -> str:
    """What such a VAE is called beside the parts of a model."""
    return f"VAE {path}"


def _key(components: Components, path: Path) -> _Key:
    # What its latents are scaled by is the model's.
    return str(path), path.stat().st_mtime_ns, components.folder, components.read_from, str(components.dtype)


@one_at_a_time
def _load(path: Path, folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    from engine.diffusion.single_file import load_vae

    try:
        if path.is_dir():
            for file in path.glob("*.safetensors"):
                judge_header(file)
            kind: Any = AutoencoderTiny if (path / "config.json").read_text(encoding="utf-8").find("AutoencoderTiny") >= 0 else AutoencoderKL
            vae = kind.from_pretrained(path, local_files_only=True, use_safetensors=True, torch_dtype=dtype).eval().requires_grad_(False)
        else:
            shapes = judge_header(path).shapes
            at = part_at(VAE_AT, shapes)
            settings = read_vae(under(at, shapes))
            if settings is None:
                raise DamagedFile(f"{path.name} is no VAE.", "Choose another one.", "vae")
            own = settings_of(folder, "vae")
            scale = {name: own[name] for name in ("scaling_factor", "shift_factor", "force_upcast", "sample_size") if name in own}
            vae = load_vae(path, at, settings | scale, dtype=dtype)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        unless_memory_ran_out(error)
        raise DamagedFile(f"The VAE {path.stem} cannot be loaded.", "Copy or download it again, or choose the model's own.", "vae") from error
    except DamagedFile as error:
        raise DamagedFile(error.message, error.hint, "vae") from error
    return settled(vae.to(device), type(vae).__name__)
