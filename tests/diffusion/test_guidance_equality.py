"""Every guidance style against diffusers' own guider, or its PAG pipeline, on small untrained weights in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any, get_args

import pytest
import torch
from diffusers.guiders import (
    AdaptiveProjectedGuidance,
    ClassifierFreeGuidance,
    ClassifierFreeZeroStarGuidance,
    SmoothedEnergyGuidance,
    TangentialClassifierFreeGuidance,
)
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer
from diffusers.hooks import HookRegistry
from diffusers.hooks.smoothed_energy_guidance_utils import SmoothedEnergyGuidanceConfig, _apply_smoothed_energy_guidance_hook
from diffusers.pipelines.pag.pipeline_pag_sd import StableDiffusionPAGPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

from engine.contract.guidance import GuidanceStyle
from engine.contract.recipe import Recipe
from engine.contract.schedulers import SchedulerName
from engine.diffusion.guidance import APG_LENGTH, APG_MOMENTUM
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder
from tests.diffusion.tiny import make_model

STEPS = 6
SAMPLERS: tuple[SchedulerName, ...] = ("dpmpp_2m", "euler_a")
# Start, end and rescale; 0.2 and 0.7 of six steps fall between two.
SETTINGS = ((0.0, 1.0, None), (0.2, 0.7, None), (0.0, 1.0, 0.7), (0.2, 0.7, 0.7))
LAYER = "mid_block.attentions.0.transformer_blocks"


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Components:
    folder = make_model(tmp_path_factory.mktemp("models") / "four", in_channels=4)
    return load_components(folder, device=torch.device("cpu"), dtype=torch.float32)


def recipe(style: GuidanceStyle, scheduler: SchedulerName = "dpmpp_2m", **values: Any) -> Recipe:
    fixed: dict[str, Any] = {
        "model": "tiny", "model_hash": "", "prompt": "a red castle", "negative_prompt": "blurry", "steps": STEPS, "guidance_scale": 6.0,
        "scheduler": scheduler, "width": 64, "height": 64, "seed": 3, "count": 2, "guidance_style": None if style == "cfg" else style,
        "perturbed_scale": 3.0 if style in ("pag", "seg") else None,
    }  # fmt: skip
    return Recipe(**{**fixed, **values})


def ours(components: Components, asked: Recipe) -> torch.Tensor:
    *_, last = text_to_image(components, PromptEncoder(components), asked)
    return last.latents


def run(cls: Any, components: Components, asked: Recipe, **options: Any) -> torch.Tensor:
    """diffusers' pipeline on the recipe, to its latents."""
    pipe = cls(
        vae=components.vae, text_encoder=components.text_encoder, tokenizer=components.tokenizer, unet=components.unet,
        scheduler=build_scheduler(asked.scheduler, components.scheduler_config), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False, **({"pag_applied_layers": ["mid"]} if cls is StableDiffusionPAGPipeline else {}),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    rng = [torch.Generator().manual_seed(asked.seed + k) for k in range(asked.count)]
    return pipe(
        asked.prompt, negative_prompt=asked.negative_prompt, num_inference_steps=asked.steps, guidance_scale=asked.guidance_scale,
        width=asked.width, height=asked.height, num_images_per_prompt=asked.count, generator=rng, output_type="latent", **options,
    ).images  # fmt: skip


def guider_of(asked: Recipe) -> Any:
    """diffusers' guider with what ours is made to do."""
    start, stop = asked.guidance_start or 0.0, 1.0 if asked.guidance_end is None else asked.guidance_end
    options: dict[str, Any] = {
        "guidance_scale": asked.guidance_scale, "guidance_rescale": asked.guidance_rescale or 0.0, "start": start, "stop": stop,
    }  # fmt: skip
    match asked.guidance_style:
        case "apg":
            made = AdaptiveProjectedGuidance(
                adaptive_projected_guidance_momentum=APG_MOMENTUM, adaptive_projected_guidance_rescale=APG_LENGTH, eta=0.0, **options
            )
            # Made for each picture: the guider itself would do it in a call that needs its modular pipelines.
            made.momentum_buffer = MomentumBuffer(APG_MOMENTUM)
            return made
        case "cfg_zero_star":
            return ClassifierFreeZeroStarGuidance(zero_init_steps=0, **options)
        case "tangential":
            return TangentialClassifierFreeGuidance(**options)
        case "seg":
            # Its limits are the wrong way round: a small blur is what gives the mean, which a blur without end means.
            config = SmoothedEnergyGuidanceConfig(indices=[0], fqn=LAYER)
            return SmoothedEnergyGuidance(seg_guidance_scale=asked.perturbed_scale or 0.0, seg_blur_sigma=1.0, seg_guidance_config=config, **options)
        case _:
            return ClassifierFreeGuidance(**options)


@contextmanager
def guided_by(unet: Any, guider: Any, steps: int) -> Iterator[None]:
    """While inside, both halves of what the model answers are the guider's: the pipeline's own guidance then gives that back."""
    step, is_inner = 0, False

    def hook(_: object, inputs: Any, named: dict[str, Any], output: Any) -> Any:
        nonlocal step, is_inner
        if is_inner:
            return None
        unconditional, conditional = output[0].chunk(2)
        # Its second window leaves out the first step; without a number of steps both are open.
        guider.set_state(step=step, num_inference_steps=None if isinstance(guider, SmoothedEnergyGuidance) else steps, timestep=inputs[1])
        predictions = {"pred_cond": conditional, "pred_uncond": unconditional}
        if isinstance(guider, SmoothedEnergyGuidance):
            _apply_smoothed_energy_guidance_hook(unet, guider.seg_guidance_config[0], 1.0, name="SEG")
            is_inner = True
            half = {**named, "encoder_hidden_states": named["encoder_hidden_states"].chunk(2)[1]}
            predictions["pred_cond_seg"] = unet(inputs[0].chunk(2)[1], *inputs[1:], **half)[0]
            is_inner = False
            HookRegistry.check_if_exists_or_initialize(unet).remove_hook("SEG", recurse=True)
        step += 1
        return (torch.cat([guider.forward(**predictions).pred] * 2),)

    handle = unet.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def check(mine: torch.Tensor, theirs: torch.Tensor, what: str) -> None:
    difference = float((mine - theirs).abs().max())
    print(f"{what}: largest difference {difference:.2e}")
    assert torch.isfinite(mine).all()
    # An untrained model's latents reach well over 1, where float32 itself is coarser.
    assert difference <= 1e-5 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("scheduler", SAMPLERS)
@pytest.mark.parametrize("style", ["cfg", "cfg_zero_star", "apg", "tangential"])
def test_a_style_equals_its_guider(
    components: Components, style: GuidanceStyle, scheduler: SchedulerName, setting: tuple[float, float, float | None]
) -> None:
    start, end, rescale = setting
    asked = recipe(style, scheduler, guidance_start=start or None, guidance_end=end, guidance_rescale=rescale)
    with guided_by(components.unet, guider_of(asked), STEPS):
        theirs = run(StableDiffusionPipeline, components, asked)
    check(ours(components, asked), theirs, f"{style} {scheduler} {start}-{end} rescale {rescale}")


@pytest.mark.parametrize("rescale", [None, 0.7])
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_seg_equals_its_guider(components: Components, scheduler: SchedulerName, rescale: float | None) -> None:
    asked = recipe("seg", scheduler, guidance_rescale=rescale)
    with guided_by(components.unet, guider_of(asked), STEPS):
        theirs = run(StableDiffusionPipeline, components, asked)
    check(ours(components, asked), theirs, f"seg {scheduler} rescale {rescale}")


@pytest.mark.parametrize(("guidance", "rescale"), [(0.0, None), (1.0, None), (6.0, None), (6.0, 0.7)])
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_pag_equals_its_pipeline(components: Components, scheduler: SchedulerName, guidance: float, rescale: float | None) -> None:
    """Also at guidance 1 and below, where the perturbation is all there is."""
    asked = recipe("pag", scheduler, guidance_scale=guidance, guidance_rescale=rescale)
    theirs = run(StableDiffusionPAGPipeline, components, asked, pag_scale=3.0, guidance_rescale=rescale or 0.0)
    check(ours(components, asked), theirs, f"pag {scheduler} guidance {guidance} rescale {rescale}")


def test_the_styles_differ(components: Components) -> None:
    """What equals its reference could still be a style that does nothing."""
    made = {style: ours(components, recipe(style, "ddim")) for style in get_args(GuidanceStyle)}
    made["rescale"] = ours(components, recipe("cfg", "ddim", guidance_rescale=0.7))
    made["window"] = ours(components, recipe("cfg", "ddim", guidance_end=0.5))
    for one, other in combinations(made, 2):
        assert not torch.allclose(made[one], made[other], atol=1e-4), (one, other)


def test_pag_outside_its_window_is_the_words_alone(components: Components) -> None:
    """PAG's pipeline has no window; up to its start the walk is that without guidance."""
    asked = recipe("pag", "ddim", guidance_start=0.5, guidance_end=1.0)
    steps = [step.latents.clone() for step in text_to_image(components, PromptEncoder(components), asked)]
    words = [step.latents.clone() for step in text_to_image(components, PromptEncoder(components), recipe("cfg", "ddim", guidance_scale=1.0))]
    assert torch.equal(steps[2], words[2])
    assert not torch.allclose(steps[3], words[3], atol=1e-4)
