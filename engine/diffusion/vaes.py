"""Another VAE in the place of a model's own, for one run. The model itself is left as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from engine.contract.errors import DamagedFile
from engine.diffusion.loading import Components, settled
from engine.diffusion.preview import NO_PREVIEW, measure_preview
from engine.diffusion.reading import one_at_a_time
from engine.weights.fingerprints import VAE_AT, part_at, under
from engine.weights.headers import judge_header
from engine.weights.single_files import read_vae, settings_of

_Key = tuple[str, int, Path, str]


class VaeShelf:
    """Keeps the one that was used last."""

    def __init__(self) -> None:
        self._key: _Key | None = None
        self._vae: Any = None

    def has(self, components: Components, path: Path) -> bool:
        return self._key == _key(components, path)

    def on(self, components: Components, path: Path | None) -> Components:
        """The model with this VAE; None leaves it as it is. Raises `DamagedFile` about the control "vae"."""
        if path is None:
            return components
        key = _key(components, path)
        if self._key != key:
            self._key = self._vae = None
            self._vae, self._key = _load(path, components), key
        preview = components.preview
        changed = replace(components, parts={**components.parts, "vae": self._vae})
        return changed if preview is not NO_PREVIEW else replace(changed, preview=measure_preview(components.family.latents, self._vae))


def _key(components: Components, path: Path) -> _Key:
    # What its latents are scaled by is the model's.
    return str(path), path.stat().st_mtime_ns, components.folder, str(components.dtype)


@one_at_a_time
def _load(path: Path, components: Components) -> Any:
    from engine.diffusion.single_file import load_vae

    try:
        if path.is_dir():
            for file in path.glob("*.safetensors"):
                judge_header(file)
            kind: Any = AutoencoderTiny if (path / "config.json").read_text(encoding="utf-8").find("AutoencoderTiny") >= 0 else AutoencoderKL
            vae = kind.from_pretrained(path, local_files_only=True, use_safetensors=True, torch_dtype=components.dtype).eval().requires_grad_(False)
        else:
            shapes = judge_header(path).shapes
            at = part_at(VAE_AT, shapes)
            settings = read_vae(under(at, shapes))
            if settings is None:
                raise DamagedFile(f"{path.name} is no VAE.", "Choose another one.", "vae")
            own = settings_of(components.folder, "vae")
            scale = {name: own[name] for name in ("scaling_factor", "shift_factor", "force_upcast", "sample_size") if name in own}
            vae = load_vae(path, at, settings | scale, dtype=components.dtype)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DamagedFile(f"The VAE {path.stem} cannot be loaded.", "Copy or download it again, or choose the model's own.", "vae") from error
    except DamagedFile as error:
        raise DamagedFile(error.message, error.hint, "vae") from error
    return settled(vae.to(components.device), type(vae).__name__)
