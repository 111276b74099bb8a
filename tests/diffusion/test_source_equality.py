"""img2img and inpainting against diffusers' own pipelines on the same weights, in float32, over the sampler table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import StableDiffusionImg2ImgPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint import StableDiffusionInpaintPipeline
from PIL import Image

from engine.contract.recipe import Recipe
from engine.contract.schedulers import SchedulerName, samplers_for
from engine.diffusion.images import Rgb
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.img2img import image_to_image
from engine.diffusion.modes.inpaint import inpaint
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder
from engine.starter.attributes import SceneLabels
from engine.starter.scenes import draw
from tests.conftest import STARTER
from tests.diffusion.test_equality import TCD_ETA
from tests.diffusion.tiny import make_model

STEPS = 6
# Begun in the middle of the schedule, diffusers' PNDM is a step behind its noise; ours is not (tests/diffusion/test_mended.py).
NAMES = [name for name in samplers_for(is_flow=False) if name != "pndm"]
WIDTH, HEIGHT = 64, 96
HASH = "0" * 64


def load(folder: Path) -> Components:
    return load_components(folder, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Components]:
    root = tmp_path_factory.mktemp("models")
    return {
        "starter": load(STARTER),
        "four": load(make_model(root / "four", in_channels=4)),
        "nine": load(make_model(root / "nine", in_channels=9)),
    }


@pytest.fixture(scope="module")
def source() -> Rgb:
    scene = draw(SceneLabels("castle", "hills", "day", "red"), 4).image
    return np.asarray(Image.fromarray(scene).resize((WIDTH, HEIGHT)), np.uint8)


def pipeline(cls: Any, components: Components, scheduler: SchedulerName) -> Any:
    pipe = cls(
        vae=components.vae, text_encoder=components.text_encoder, tokenizer=components.tokenizer, unet=components.unet,
        scheduler=build_scheduler(scheduler, components.scheduler_config), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def recipe(mode: str, scheduler: SchedulerName, **values: object) -> Recipe:
    fixed = {
        "mode": mode, "model": "tiny", "model_hash": "", "prompt": "a red castle at sunset", "negative_prompt": "blurry", "steps": STEPS,
        "guidance_scale": 4.0, "scheduler": scheduler, "width": WIDTH, "height": HEIGHT, "seed": 11, "count": 1, "source": HASH,
    }  # fmt: skip
    return Recipe.model_validate({**fixed, **values})


def seeds(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(11 + k) for k in range(count)]


@pytest.mark.parametrize("scheduler", NAMES)
@pytest.mark.parametrize(("model", "strength"), [("four", 0.3), ("four", 0.75), ("four", 1.0), ("starter", 0.6)])
def test_image_to_image_equals_diffusers(models: dict[str, Components], source: Rgb, model: str, scheduler: SchedulerName, strength: float) -> None:
    components = models[model]
    count = 2
    asked = recipe("img2img", scheduler, strength=strength, fit="stretch", count=count)
    *_, last = image_to_image(components, PromptEncoder(components), asked, source)
    pipe = pipeline(StableDiffusionImg2ImgPipeline, components, scheduler)
    theirs = pipe(
        asked.prompt, negative_prompt=asked.negative_prompt, image=Image.fromarray(source), strength=strength, num_inference_steps=STEPS,
        guidance_scale=4.0, num_images_per_prompt=count, generator=seeds(count), output_type="latent",
        eta=TCD_ETA if scheduler == "tcd" else 0.0,
    ).images  # fmt: skip
    difference = float((last.latents - theirs).abs().max())
    print(f"{model} {scheduler} strength {strength}: largest difference {difference:.2e}")
    assert difference <= 1e-5


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("scheduler", NAMES)
@pytest.mark.parametrize("model", ["four", "nine"])
def test_inpainting_equals_diffusers(models: dict[str, Components], source: Rgb, model: str, scheduler: SchedulerName, strength: float) -> None:
    components = models[model]
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[24:72, 16:48] = 1
    asked = recipe("inpaint", scheduler, strength=strength, region="whole", padding=0, feather=0, is_soft=False, fill="original", mask=HASH)
    *_, last = inpaint(components, PromptEncoder(components), asked, source, mask)
    pipe = pipeline(StableDiffusionInpaintPipeline, components, scheduler)
    theirs = pipe(
        asked.prompt, negative_prompt=asked.negative_prompt, image=Image.fromarray(source), mask_image=Image.fromarray((mask * 255).astype(np.uint8)),
        width=WIDTH, height=HEIGHT, strength=strength, num_inference_steps=STEPS, guidance_scale=4.0, generator=seeds(1), output_type="latent",
        eta=TCD_ETA if scheduler == "tcd" else 0.0,
    ).images  # fmt: skip
    difference = float((last.latents - theirs).abs().max())
    print(f"{model} {scheduler} strength {strength}: largest difference {difference:.2e}")
    assert difference <= 1e-5
