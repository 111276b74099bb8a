"""Every family through the one loop, against diffusers' own pipeline of that family and mode, on the same tiny parts in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.contract.families import FAMILIES, guidance_kind
from engine.contract.recipe import Recipe
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.img2img import image_to_image
from engine.diffusion.modes.inpaint import inpaint
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder
from tests.diffusion.families import PIPELINES, make_family, pipeline

BOUND = 1e-5
STEPS, WIDTH, HEIGHT = 4, 64, 96
# What a family's pipeline calls the guidance that our number stands for, and by how much it differs.
GUIDANCE: dict[str, Any] = {
    "sdxl": lambda scale: {"guidance_scale": scale},
    "sd3": lambda scale: {"guidance_scale": scale},
    "flux1": lambda scale: {"guidance_scale": scale},
    "flux2": lambda scale: {"guidance_scale": scale},
    "zimage": lambda scale: {"guidance_scale": scale - 1},
    "qwen": lambda scale: {"true_cfg_scale": scale},
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "sdxl": ("sdxl", {}), "sd3": ("sd3", {}), "sd3 without T5": ("sd3", {"with_t5": False}), "flux1 dev": ("flux1", {}),
    "flux1 schnell": ("flux1", {"guidance_embeds": False}), "flux2": ("flux2", {}), "zimage": ("zimage", {}), "qwen": ("qwen", {}),
}  # fmt: skip
_LOADED: dict[str, Components] = {}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _LOADED.clear()
    return tmp_path_factory.mktemp("families")


def model(room: Path, name: str) -> Components:
    if name not in _LOADED:
        key, options = MODELS[name]
        _LOADED[name] = load_components(make_family(room / name, key, **options), device=torch.device("cpu"), dtype=torch.float32)
    return _LOADED[name]


def recipe(components: Components, **own: Any) -> Recipe:
    facts = FAMILIES[components.family.key]
    kind = guidance_kind(facts.key, components.network.config)
    values: dict[str, Any] = {
        # klein's pipeline always says nothing there.
        "negative_prompt": "" if facts.key == "flux2" else "blurry", "model": "tiny", "model_hash": "", "prompt": "a red castle at sunset", "steps": STEPS, "guidance_scale": 3.0,
        "scheduler": "flow_euler" if facts.is_flow else "euler", "width": WIDTH, "height": HEIGHT, "seed": 11, "count": 1,
        "guidance_kind": None if kind == "cfg" else kind,
    }  # fmt: skip
    return Recipe(**{**values, **own})


def asked_of_theirs(components: Components, asked: Recipe) -> dict[str, Any]:
    given: dict[str, Any] = {
        "prompt": asked.prompt, "num_inference_steps": asked.steps, "width": WIDTH, "height": HEIGHT, "num_images_per_prompt": asked.count,
        "generator": [torch.Generator().manual_seed(asked.seed + k) for k in range(asked.count)], "output_type": "pt",
        **GUIDANCE[components.family.key](asked.guidance_scale),
    }  # fmt: skip
    if components.family.key not in ("flux1", "flux2"):
        given["negative_prompt"] = asked.negative_prompt
    return given


def pixels(components: Components, last: Any) -> torch.Tensor:
    with torch.inference_mode():
        return (decode(components, last.latents) / 2 + 0.5).clamp(0, 1)


def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_words_to_picture_equals_diffusers(room: Path, name: str, count: int) -> None:
    components = model(room, name)
    asked = recipe(components, count=count)
    *_, last = text_to_image(components, PromptEncoder(components), asked)
    theirs = pipeline(components, "txt2img")(**asked_of_theirs(components, asked)).images
    difference = float((pixels(components, last) - theirs).abs().max())
    print(f"{name}, {count}: largest difference {difference:.1e} of pixels in 0 to 1")
    assert difference <= BOUND


@pytest.mark.parametrize("name", ["sdxl", "sd3", "zimage", "qwen"])
def test_without_guidance_it_runs_once_a_step(room: Path, name: str) -> None:
    components = model(room, name)
    asked = recipe(components, guidance_scale=1.0)
    rows: list[int] = []
    handle = components.network.register_forward_pre_hook(lambda *_: rows.append(1))
    *_, last = text_to_image(components, PromptEncoder(components), asked)
    handle.remove()
    given = asked_of_theirs(components, asked)
    given.pop("negative_prompt")
    theirs = pipeline(components, "txt2img")(**given).images
    assert float((pixels(components, last) - theirs).abs().max()) <= BOUND
    assert len(rows) == STEPS


@pytest.mark.parametrize("name", [name for name, (key, _) in MODELS.items() if "img2img" in PIPELINES[key]])
def test_picture_to_picture_equals_diffusers(room: Path, name: str) -> None:
    components = model(room, name)
    asked = recipe(components, mode="img2img", source="0" * 64, strength=0.5, fit="stretch")
    source = picture()
    *_, last = image_to_image(components, PromptEncoder(components), asked, source)
    given = {**asked_of_theirs(components, asked), "image": Image.fromarray(source), "strength": 0.5}
    if components.family.key == "sdxl":
        given.pop("width"), given.pop("height")
    theirs = pipeline(components, "img2img")(**given).images
    difference = float((pixels(components, last) - theirs).abs().max())
    print(f"{name}: largest difference {difference:.1e}")
    assert difference <= BOUND


@pytest.mark.parametrize("name", ["sdxl", "flux1 dev", "zimage", "qwen"])
def test_inpainting_equals_diffusers(room: Path, name: str) -> None:
    components = model(room, name)
    asked = recipe(components, mode="inpaint", source="0" * 64, strength=0.75, region="whole", padding=0, feather=0.0, is_soft=False, fill="original")
    source, mask = picture(), np.zeros((HEIGHT, WIDTH), np.float32)
    mask[32:64, 16:48] = 1.0
    *_, last = inpaint(components, PromptEncoder(components), asked, source, mask)
    given = {
        **asked_of_theirs(components, asked),
        "image": Image.fromarray(source),
        "mask_image": Image.fromarray((mask * 255).astype(np.uint8)),
        "strength": 0.75,
    }
    theirs = pipeline(components, "inpaint")(**given).images
    difference = float((pixels(components, last) - theirs).abs().max())
    print(f"{name}: largest difference {difference:.1e}")
    assert difference <= BOUND
