"""Every family through the one loop, against diffusers' own pipeline of that family and mode, on the same tiny parts in float32."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from PIL import Image
from safetensors.torch import save_file

from engine.contract.controls import ControlUse
from engine.contract.errors import IncompatibleAdapter, InvalidRequest
from engine.contract.families import FAMILIES, guidance_kind
from engine.contract.recipe import Recipe
from engine.diffusion.adapters import AdapterShelf, Lora
from engine.diffusion.controlnet import Control, Unit
from engine.diffusion.freezing import freeze, thaw
from engine.diffusion.images import to_pixels
from engine.diffusion.latents import decode, encode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.img2img import image_to_image
from engine.diffusion.modes.inpaint import inpaint
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.preview import measure_preview
from engine.diffusion.text import PromptEncoder
from engine.jobs.hosts.previews import to_jpeg
from tests.conftest import STARTER
from tests.diffusion.families import PIPELINES, make_family, pipeline
from tests.diffusion.loras import matrices

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
        del given["width"], given["height"]
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


def test_a_control_on_sdxl_equals_diffusers(room: Path) -> None:
    components = model(room, "sdxl")
    torch.manual_seed(5)
    net: Any = ControlNetModel.from_unet(components.unet, conditioning_embedding_out_channels=(4, 8, 8, 16))
    # Fresh ones add nothing: their last layers are zeros.
    for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=0.1)
    net = net.eval().requires_grad_(False)
    shown = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    use = ControlUse(image="0" * 64, control="tiny", preprocessor="none", weight=0.7, map="0" * 64, fit="stretch")
    asked = recipe(components)
    *_, last = text_to_image(components, PromptEncoder(components), asked, control=Control((Unit(net, use, shown),)))
    *_, plain = text_to_image(components, PromptEncoder(components), asked)
    theirs = pipeline(components, "control", controlnet=net)(
        **asked_of_theirs(components, asked), image=Image.fromarray(shown), controlnet_conditioning_scale=0.7
    ).images
    assert float((pixels(components, last) - theirs).abs().max()) <= BOUND
    assert float((last.latents - plain.latents).abs().max()) > 0.1


@pytest.mark.parametrize("name", MODELS)
def test_every_word_counts(room: Path, name: str) -> None:
    """What the bound above is worth: another prompt, and a prompt that differs only far behind, draw clearly another picture."""
    components = model(room, name)
    prompts = PromptEncoder(components)
    long = "a red castle " * (60 if name == "zimage" else 260)
    made = [list(text_to_image(components, prompts, recipe(components, prompt=text, steps=2)))[-1].latents for text in ("a red castle", "fog over the sea", long + "at sunset", long + "in fog")]  # fmt: skip
    assert float((made[0] - made[1]).abs().max()) > 1000 * BOUND
    assert float((made[2] - made[3]).abs().max()) > 0


def test_more_words_than_a_model_has_places_for_are_refused_not_cut(room: Path) -> None:
    components = model(room, "zimage")
    with pytest.raises(InvalidRequest, match="reads 992 at most") as caught:
        next(text_to_image(components, PromptEncoder(components), recipe(components, prompt="a red castle " * 260)))
    assert caught.value.field == "prompt"


@pytest.mark.parametrize("name", ["sdxl", "sd3", "qwen", "flux2"])
def test_the_last_preview_is_the_picture(room: Path, name: str) -> None:
    """At the end of the walk the predicted clean latents are what the sampler arrives at, and the measured map shows them."""
    components = model(room, name)
    *_, last = text_to_image(components, PromptEncoder(components), recipe(components, steps=12))
    assert float((last.denoised - last.latents).abs().max()) < 1e-4 if components.family.facts.is_flow else torch.isfinite(last.denoised).all()
    assert Image.open(io.BytesIO(to_jpeg(components.preview.sketch(last.denoised[0])))).size[0] >= 128


@pytest.mark.parametrize("name", ["sdxl", "flux1 dev"])
def test_a_walk_that_was_put_aside_goes_on_bit_for_bit(room: Path, name: str, tmp_path: Path) -> None:
    components = model(room, name)
    asked = recipe(components)
    whole = [step.latents.clone() for step in text_to_image(components, PromptEncoder(components), asked)]
    walk = text_to_image(components, PromptEncoder(components), asked)
    step = [next(walk) for _ in range(2)][-1]
    file = tmp_path / "frozen.safetensors"
    file.write_bytes(freeze(step.walk, step.latents, picture=0, index=step.index, step=2))
    frozen = thaw(file, components.device)
    assert frozen is not None
    rest = [step.latents.clone() for step in text_to_image(components, PromptEncoder(components), asked, frozen=frozen)]
    assert len(rest) == STEPS - 2
    assert torch.equal(rest[-1], whole[-1])


def test_a_measured_preview_is_close_to_the_picture() -> None:
    """On an autoencoder that was truly trained: the map that is measured on it shows what it holds about as well as the one that was fitted to it."""
    starter = load_components(STARTER, device=torch.device("cpu"), dtype=torch.float32)
    measured = measure_preview(starter.family.latents, starter.vae)
    with Image.open(STARTER.parents[1] / "examples" / "1.jpg") as opened:
        scene = np.asarray(opened.convert("RGB").resize((256, 256)))
    with torch.inference_mode():
        latents = encode(starter, to_pixels(scene), [torch.Generator()])[0]
    small = torch.nn.functional.interpolate(to_pixels(scene), size=latents.shape[-2:], mode="area")[0].permute(1, 2, 0)
    errors = [float((latents.permute(1, 2, 0) @ one.matrix + one.bias - small).abs().mean()) for one in (measured, starter.preview)]
    print(f"mean error of a preview, of 2: {errors[0]:.3f} measured, {errors[1]:.3f} fitted to many scenes")
    assert errors[0] < max(2 * errors[1], 0.15)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("sd3 without T5", "flux1 schnell")])
def test_a_lora_equals_diffusers_and_is_gone_without_a_trace(room: Path, name: str, tmp_path: Path) -> None:
    components = model(room, name)
    family = components.family
    targets = {"zimage": ["to_q", "to_v"], "flux2": ["to_q", "to_v"]}.get(family.key, ["to_q", "to_k", "to_v"])
    state = {f"{family.network}.{key}": value for key, value in matrices(components.network, targets, seed=7, scale=0.2).items()}
    for part in family.loras.encoders if family.loras else ():
        state |= {f"{part}.{key}": value for key, value in matrices(components.parts[part], ["q_proj", "v_proj"], seed=8, scale=0.2).items()}
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "tiny.safetensors")
    asked = recipe(components)
    *_, before = text_to_image(components, PromptEncoder(components), asked)
    with AdapterShelf().applied(components, (Lora(tmp_path / "tiny.safetensors", 0.8),)):
        *_, inside = text_to_image(components, PromptEncoder(components), asked)
    *_, after = text_to_image(components, PromptEncoder(components), asked)
    assert torch.equal(before.latents, after.latents)
    assert float((inside.latents - before.latents).abs().max()) > 1e-3
    fresh = load_components(components.folder, device=torch.device("cpu"), dtype=torch.float32)
    pipe = pipeline(fresh, "txt2img")
    pipe.load_lora_weights(str(tmp_path), weight_name="tiny.safetensors", adapter_name="tiny")
    pipe.set_adapters(["tiny"], [0.8])
    theirs = pipe(**asked_of_theirs(components, asked)).images
    assert float((pixels(components, inside) - theirs).abs().max()) <= BOUND


def test_a_lora_of_another_family_is_refused(room: Path, tmp_path: Path) -> None:
    flux, qwen = model(room, "flux1 dev"), model(room, "qwen")
    state = {f"transformer.{key}": value.contiguous() for key, value in matrices(flux.network, ["to_q", "proj_mlp"], seed=1).items()}
    save_file(state, tmp_path / "flux.safetensors")
    with (
        pytest.raises(IncompatibleAdapter, match="of the 3 layers") as caught,
        AdapterShelf().applied(qwen, (Lora(tmp_path / "flux.safetensors", 1.0),)),
    ):
        pass
    assert caught.value.field == "loras"
    assert not hasattr(qwen.network, "peft_config")
