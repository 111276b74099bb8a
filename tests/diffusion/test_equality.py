"""Our loop against diffusers' own pipeline on the same weights, in float32: every sampler, guided and not, one and three."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from engine.contract.recipe import Recipe
from engine.contract.schedulers import SchedulerName, samplers_for
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder
from tests.conftest import STARTER

STEPS = 5
# What TCD takes by itself (γ of Zheng et al. 2024); the pipeline would say 0.
TCD_ETA = 0.3


@pytest.fixture(scope="module")
def components() -> Components:
    return load_components(STARTER, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="module")
def pipeline(components: Components) -> Any:
    pipe = StableDiffusionPipeline(
        vae=components.vae, text_encoder=components.text_encoder, tokenizer=components.tokenizer, unet=components.unet,
        scheduler=build_scheduler("ddim", components.scheduler_config), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def recipe(scheduler: SchedulerName, guidance: float, count: int) -> Recipe:
    return Recipe(
        model="starter",
        model_hash="",
        prompt="a red castle at sunset",
        negative_prompt="blurry",
        steps=STEPS,
        guidance_scale=guidance,
        scheduler=scheduler,
        width=64,
        height=96,
        seed=11,
        count=count,
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("scheduler", samplers_for(is_flow=False))
def test_the_loop_equals_diffusers(components: Components, pipeline: Any, scheduler: SchedulerName, guidance: float, count: int) -> None:
    asked = recipe(scheduler, guidance, count)
    *_, last = text_to_image(components, PromptEncoder(components), asked)
    pipeline.scheduler = build_scheduler(scheduler, components.scheduler_config)
    theirs = pipeline(
        asked.prompt, negative_prompt=asked.negative_prompt, num_inference_steps=STEPS, guidance_scale=guidance, width=64, height=96,
        num_images_per_prompt=count, generator=[torch.Generator().manual_seed(11 + k) for k in range(count)], output_type="latent",
        eta=TCD_ETA if scheduler == "tcd" else 0.0,
    ).images  # fmt: skip
    difference = float((last.latents - theirs).abs().max())
    print(f"{scheduler} guidance {guidance} count {count}: largest difference {difference:.2e}")
    assert difference <= 1e-5
    assert torch.isfinite(last.latents).all()
    with torch.inference_mode():
        assert decode(components, last.latents).shape == (count, 3, 96, 64)


@pytest.mark.parametrize("scheduler", samplers_for(is_flow=False))
def test_the_last_preview_is_the_picture(components: Components, scheduler: SchedulerName) -> None:
    """At the end of the walk the predicted clean latents are what the sampler arrives at: previews show the truth."""
    *_, last = text_to_image(components, PromptEncoder(components), recipe(scheduler, 3.0, 1).model_copy(update={"steps": 20}))
    spread = float(last.latents.std())
    assert float((last.denoised - last.latents).abs().mean()) < 0.15 * spread


def test_long_prompts_are_read_whole(components: Components) -> None:
    prompts = PromptEncoder(components)
    long = "a red castle " * 40
    embeds = prompts.encode(long + "at night", "blurry")
    assert embeds.shape[1] == 77 * len(prompts.chunks(long + "at night"))
    assert embeds.shape[1] > 77
    assert not torch.equal(embeds, prompts.encode(long + "by day", "blurry"))


def test_a_repeated_prompt_is_the_same_tensor(components: Components) -> None:
    prompts = PromptEncoder(components)
    assert torch.equal(prompts.encode("a", "b"), prompts.encode("a", "b"))
