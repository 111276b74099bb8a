"""Control units against diffusers' own ControlNet pipelines on the same weights, in float32: modes, several units, windows, weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from diffusers.pipelines.controlnet.pipeline_controlnet_img2img import StableDiffusionControlNetImg2ImgPipeline
from diffusers.pipelines.controlnet.pipeline_controlnet_inpaint import StableDiffusionControlNetInpaintPipeline
from diffusers.pipelines.pag.pipeline_pag_controlnet_sd import StableDiffusionControlNetPAGPipeline
from PIL import Image

from engine.contract.controls import ControlUse
from engine.contract.schedulers import SchedulerName
from engine.diffusion.controlnet import Control, Unit
from engine.diffusion.images import Rgb
from engine.diffusion.loading import Components
from engine.diffusion.modes.img2img import image_to_image
from engine.diffusion.modes.inpaint import inpaint
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder
from tests.conftest import STARTER
from tests.diffusion.controls import make_control
from tests.diffusion.test_source_equality import HASH, HEIGHT, STEPS, WIDTH, load, recipe, seeds
from tests.diffusion.tiny import make_model
from tests.pictures import scene

SAMPLERS: tuple[SchedulerName, ...] = ("ddim", "pndm", "euler", "euler_a", "heun", "dpmpp_2m", "unipc")
# (weight, start, end) of each unit.
UNITS = {
    "one": ((1.0, 0.0, 1.0),),
    "weight": ((0.35, 0.0, 1.0),),
    "window": ((1.4, 0.2, 0.7),),
    "two": ((0.8, 0.0, 1.0), (1.2, 0.0, 1.0)),
    "three, windows": ((0.8, 0.0, 0.5), (1.5, 0.5, 1.0), (0.6, 0.1, 0.9)),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Components]:
    root = tmp_path_factory.mktemp("models")
    return {
        "starter": load(STARTER),
        "four": load(make_model(root / "four", in_channels=4)),
        "nine": load(make_model(root / "nine", in_channels=9)),
    }


@pytest.fixture(scope="module")
def nets(models: dict[str, Components]) -> dict[str, list[Any]]:
    return {name: [make_control(one.unet, seed=seed) for seed in range(3)] for name, one in models.items()}


def picture(number: int) -> Rgb:
    return scene(WIDTH, HEIGHT, number=number)


def units_of(nets: list[Any], which: str) -> tuple[Unit, ...]:
    return tuple(
        Unit(nets[number], ControlUse(image=HASH, control="c", weight=weight, start=start, end=end), picture(number + 5))
        for number, (weight, start, end) in enumerate(UNITS[which])
    )


def theirs(cls: Any, components: Components, units: tuple[Unit, ...], scheduler: SchedulerName, name: str, **options: Any) -> torch.Tensor:
    """What diffusers draws: latents of a pipeline with the same units. `name` is its word for the maps."""
    several = len(units) > 1
    pipe = cls(
        vae=components.vae, text_encoder=components.text_encoder, tokenizer=components.tokenizer, unet=components.unet,
        controlnet=MultiControlNetModel([unit.net for unit in units]) if several else units[0].net,
        scheduler=build_scheduler(scheduler, components.scheduler_config), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        **({"pag_applied_layers": ["mid"]} if cls is StableDiffusionControlNetPAGPipeline else {}),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    words: dict[str, list[Any]] = {
        name: [Image.fromarray(unit.map) for unit in units],
        "controlnet_conditioning_scale": [unit.use.weight for unit in units],
        "control_guidance_start": [unit.use.start for unit in units],
        "control_guidance_end": [unit.use.end for unit in units],
    }
    told = words if several else {key: value[0] for key, value in words.items()}
    return pipe(
        "a red castle at sunset", negative_prompt="blurry", width=WIDTH, height=HEIGHT, num_inference_steps=STEPS, output_type="latent",
        **told, **options,
    ).images  # fmt: skip


def compare(ours: torch.Tensor, other: torch.Tensor, what: str) -> None:
    # Rounding grows with the values, and weights that nobody has taught make large ones.
    difference, size = float((ours - other).abs().max()), max(1.0, float(other.std()))
    print(f"{what}: largest difference {difference:.2e} at a spread of {size:.1f}")
    assert torch.isfinite(ours).all()
    assert difference <= 1e-5 * size


@pytest.mark.parametrize(
    ("model", "guidance", "which"), [("starter", 4.0, "two"), *(("four", scale, which) for scale in (1.0, 4.0) for which in UNITS)]
)
def test_text_to_image_equals_diffusers(models: dict[str, Components], nets: dict[str, list[Any]], model: str, guidance: float, which: str) -> None:
    components, units = models[model], units_of(nets[model], which)
    asked = recipe("txt2img", "dpmpp_2m", guidance_scale=guidance, source=None, count=2)
    *_, last = text_to_image(components, PromptEncoder(components), asked, control=Control(units))
    other = theirs(
        StableDiffusionControlNetPipeline,
        components,
        units,
        "dpmpp_2m",
        "image",
        guidance_scale=guidance,
        num_images_per_prompt=2,
        generator=seeds(2),
    )
    *_, plain = text_to_image(components, PromptEncoder(components), asked)
    assert float((plain.latents - last.latents).abs().max()) > 1e-3
    compare(last.latents, other, f"{model} guidance {guidance} {which}")


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_every_kind_of_sampler_keeps_the_windows(models: dict[str, Components], nets: dict[str, list[Any]], scheduler: SchedulerName) -> None:
    """Second-order samplers call the model more often than there are steps; a window counts their calls, as diffusers does."""
    components, units = models["four"], units_of(nets["four"], "three, windows")
    asked = recipe("txt2img", scheduler, source=None)
    *_, last = text_to_image(components, PromptEncoder(components), asked, control=Control(units))
    other = theirs(StableDiffusionControlNetPipeline, components, units, scheduler, "image", guidance_scale=4.0, generator=seeds(1))
    compare(last.latents, other, scheduler)


@pytest.mark.parametrize("which", ["one", "three, windows"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_image_to_image_equals_diffusers(models: dict[str, Components], nets: dict[str, list[Any]], strength: float, which: str) -> None:
    components, units = models["four"], units_of(nets["four"], which)
    asked = recipe("img2img", "euler", strength=strength, fit="stretch")
    *_, last = image_to_image(components, PromptEncoder(components), asked, picture(1), control=Control(units))
    other = theirs(
        StableDiffusionControlNetImg2ImgPipeline, components, units, "euler", "control_image", image=Image.fromarray(picture(1)),
        strength=strength, guidance_scale=4.0, generator=seeds(1),
    )  # fmt: skip
    compare(last.latents, other, f"strength {strength} {which}")


@pytest.mark.parametrize("which", ["one", "three, windows"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("model", ["four", "nine"])
def test_inpainting_equals_diffusers(models: dict[str, Components], nets: dict[str, list[Any]], model: str, strength: float, which: str) -> None:
    components, units = models[model], units_of(nets[model], which)
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[24:72, 16:48] = 1
    asked = recipe("inpaint", "ddim", strength=strength, region="whole", padding=0, feather=0, is_soft=False, fill="original", mask=HASH)
    *_, last = inpaint(components, PromptEncoder(components), asked, picture(1), mask, control=Control(units))
    other = theirs(
        StableDiffusionControlNetInpaintPipeline, components, units, "ddim", "control_image", image=Image.fromarray(picture(1)),
        mask_image=Image.fromarray((mask * 255).astype(np.uint8)), strength=strength, guidance_scale=4.0, generator=seeds(1),
    )  # fmt: skip
    compare(last.latents, other, f"{model} strength {strength} {which}")


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_perturbed_guidance_is_controlled_too(models: dict[str, Components], nets: dict[str, list[Any]], guidance: float) -> None:
    """The third run of the model hears the units as the others do."""
    components, units = models["four"], units_of(nets["four"], "window")
    asked = recipe("txt2img", "ddim", source=None, guidance_scale=guidance, guidance_style="pag", perturbed_scale=3.0)
    *_, last = text_to_image(components, PromptEncoder(components), asked, control=Control(units))
    other = theirs(
        StableDiffusionControlNetPAGPipeline, components, units, "ddim", "image", guidance_scale=guidance, pag_scale=3.0, generator=seeds(1)
    )
    compare(last.latents, other, f"PAG, guidance {guidance}")


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_one_that_pools_speaks_to_the_words_only(models: dict[str, Components], guidance: float) -> None:
    components = models["four"]
    unit = Unit(make_control(components.unet, seed=9, global_pool_conditions=True), ControlUse(image=HASH, weight=0.7), picture(3))
    asked = recipe("txt2img", "ddim", source=None, guidance_scale=guidance)
    *_, last = text_to_image(components, PromptEncoder(components), asked, control=Control((unit,)))
    other = theirs(StableDiffusionControlNetPipeline, components, (unit,), "ddim", "image", guidance_scale=guidance, generator=seeds(1))
    compare(last.latents, other, f"pooled, guidance {guidance}")


@pytest.mark.parametrize("values", [{"weight": 0.0}, {"start": 0.4, "end": 0.4}, {"start": 0.0, "end": 0.1}])
def test_no_weight_or_no_time_is_the_plain_picture(models: dict[str, Components], nets: dict[str, list[Any]], values: dict[str, float]) -> None:
    components = models["four"]
    unit = Unit(nets["four"][0], ControlUse.model_validate({"image": HASH, **values}), picture(3))
    asked = recipe("txt2img", "dpmpp_2m", source=None)
    *_, last = text_to_image(components, PromptEncoder(components), asked, control=Control((unit,)))
    *_, plain = text_to_image(components, PromptEncoder(components), asked)
    assert torch.equal(last.latents, plain.latents)


def test_words_that_change_on_the_way_reach_the_control(models: dict[str, Components], nets: dict[str, list[Any]]) -> None:
    components, units = models["four"], units_of(nets["four"], "one")
    asked = recipe("txt2img", "ddim", source=None).model_copy(update={"prompt": "a red castle [at sunset:at night:0.5]"})
    steady = asked.model_copy(update={"prompt": "a red castle at sunset"})
    walks = [list(text_to_image(components, PromptEncoder(components), one, control=Control(units))) for one in (asked, steady)]
    same = [torch.equal(one.latents, other.latents) for one, other in zip(*walks, strict=True)]
    assert same == [True] * 3 + [False] * 3
