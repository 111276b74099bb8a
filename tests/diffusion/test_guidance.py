"""What guidance has to keep: old pictures to the byte, each picture of a batch as alone, and a model that is what it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from engine import InvalidRequest
from engine.contract.guidance import GuidancePlan
from engine.contract.recipe import Recipe
from engine.contract.work import Pixels, Work
from engine.diffusion.denoise import denoise, set_steps, start_noise
from engine.diffusion.guidance import Guide
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.noise import generators, initial_noise
from engine.diffusion.painter import Painter
from engine.diffusion.perturbation import attention_layers, perturbed
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder
from tests.conftest import STARTER
from tests.diffusion.test_guidance_equality import recipe
from tests.diffusion.tiny import make_model


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> Components:
    folder = make_model(tmp_path_factory.mktemp("models") / "four", in_channels=4)
    return load_components(folder, device=torch.device("cpu"), dtype=torch.float32)


def latents_of(components: Components, asked: Recipe) -> torch.Tensor:
    *_, last = text_to_image(components, PromptEncoder(components), asked)
    return last.latents


@pytest.mark.parametrize("scheduler", ["dpmpp_2m", "euler_a", "heun"])
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_plain_guidance_is_what_it_was_to_the_byte(components: Components, scheduler: Any, scale: float) -> None:
    """The loop as it stood before there were styles, written out once more."""
    asked = recipe("cfg", scheduler, guidance_scale=scale)
    made = latents_of(components, asked)
    sampler = build_scheduler(scheduler, components.scheduler_config)
    with torch.inference_mode():
        set_steps(sampler, asked.steps, 1.0, components.device)
        rng = generators([asked.seed, asked.seed + 1])
        latents = start_noise(sampler, initial_noise((4, 8, 8), rng, components.device))
        encoder = PromptEncoder(components)
        words = encoder.encode(asked.prompt, asked.negative_prompt if scale > 1 else None).repeat_interleave(2, dim=0)
        for timestep in sampler.timesteps:
            scaled = sampler.scale_model_input(torch.cat([latents] * 2) if scale > 1 else latents, timestep)
            prediction = components.unet(scaled, timestep, encoder_hidden_states=words, return_dict=False)[0]
            if scale > 1:
                without, within = prediction.chunk(2)
                prediction = without + scale * (within - without)
            options = {"generator": rng} if scheduler == "euler_a" else {}
            latents = sampler.step(prediction, timestep, latents, return_dict=False, **options)[0]
    assert torch.equal(made, latents)


def test_a_picture_of_a_batch_is_what_it_is_alone() -> None:
    """APG remembers the calls before: those of this picture only."""
    painter = Painter(device="cpu", dtype="float32", previews=False)
    asked = recipe("apg", "dpmpp_2m", model="starter", count=3, guidance_scale=9.0)

    def pixels(one: Recipe) -> list[bytes]:
        return [message.rgb for message in painter.paint(Work("job", one, STARTER)) if isinstance(message, Pixels)]

    together = pixels(asked)
    assert [pixels(asked.for_picture(k))[0] for k in range(3)] == together
    assert len(set(together)) == 3


def state_of(unet: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(name, value.clone()) for name, value in unet.state_dict().items()]


def is_untouched(unet: Any, before: list[tuple[str, torch.Tensor]]) -> bool:
    modules = list(unet.modules())
    is_clean = not any(module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__ for module in modules)
    after = state_of(unet)
    return is_clean and all(one[0] == other[0] and torch.equal(one[1], other[1]) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("style", ["pag", "seg"])
def test_an_exception_inside_the_perturbation_leaves_the_model_as_it_was(components: Components, style: Any) -> None:
    before, plain = state_of(components.unet), latents_of(components, recipe("cfg"))
    guide = Guide(GuidancePlan(scale=4.0, style=style, perturbed_scale=3.0), components.unet)
    calls = 0

    def predict(words: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            assert not is_untouched(components.unet, before)
            raise RuntimeError("pulled out")
        return torch.zeros(len(words), 4, 8, 8)

    with pytest.raises(RuntimeError, match="pulled out"):
        guide.predict(predict, torch.zeros(2, 77, 256), batch=1, index=0, calls=1)
    assert is_untouched(components.unet, before)
    assert torch.equal(latents_of(components, recipe("cfg")), plain)


@pytest.mark.parametrize("style", ["pag", "seg"])
def test_a_walk_that_is_stopped_leaves_the_model_as_it_was(components: Components, style: Any) -> None:
    before, plain = state_of(components.unet), latents_of(components, recipe("cfg"))
    walk = text_to_image(components, PromptEncoder(components), recipe(style))
    next(iter(walk))
    assert is_untouched(components.unet, before), "between two steps too"
    del walk
    assert torch.equal(latents_of(components, recipe("cfg")), plain)


def test_a_perturbation_of_nothing_is_plain_guidance(components: Components) -> None:
    assert torch.equal(latents_of(components, recipe("pag", perturbed_scale=0.0)), latents_of(components, recipe("cfg")))


def test_perturbed_are_the_layers_that_see_eight_by_eight_places(components: Components) -> None:
    """The middle block where it does; on the starter, whose middle sees 4 × 4 and changes nothing to speak of, the level above."""
    for unet, blocks in ((components.unet, ("mid_block",)), (starter_unet(), ("down_blocks.2", "up_blocks.1"))):
        names = {module: name for name, module in unet.named_modules()}
        found = [names[layer] for layer in attention_layers(unet)]
        assert found
        assert all(name.startswith(blocks) and name.endswith("attn1") for name in found)
        assert {block for block in blocks for name in found if name.startswith(block)} == set(blocks)


def starter_unet() -> Any:
    return load_components(STARTER, device=torch.device("cpu"), dtype=torch.float32).unet


def test_a_model_without_attention_says_so() -> None:
    flat = UNet2DConditionModel(
        sample_size=16, block_out_channels=(16, 16), layers_per_block=1, norm_num_groups=8, mid_block_type=None,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    with pytest.raises(InvalidRequest, match="PAG needs attention layers") as caught, perturbed(flat, "pag"):
        pass
    assert caught.value.field == "guidance_style"


@pytest.mark.parametrize("style", ["cfg", "apg", "pag", "seg"])
def test_inpainting_inputs_and_changing_words_go_along(tmp_path: Any, style: Any) -> None:
    """A nine-channel model and words that change on the way: each run of the model has its own halves of both."""
    nine = load_components(make_model(tmp_path / "nine", in_channels=9), device=torch.device("cpu"), dtype=torch.float32)
    seen: list[tuple[int, int]] = []
    handle = nine.unet.register_forward_pre_hook(_note(seen), with_kwargs=True)
    asked = recipe(style, prompt="a [red:blue:0.5] castle", count=2, guidance_start=0.5)
    latents = latents_of(nine, asked)
    handle.remove()
    half = asked.steps // 2
    runs = [(4, 9), (2, 9)] if style in ("pag", "seg") else [(4, 9)]
    assert seen == [(2, 9)] * half + runs * half
    assert torch.isfinite(latents).all()


def _note(seen: list[tuple[int, int]]) -> Callable[..., None]:
    def hook(_: object, inputs: Any, named: dict[str, Any]) -> None:
        assert len(inputs[0]) == len(named["encoder_hidden_states"])
        seen.append((inputs[0].shape[0], inputs[0].shape[1]))

    return hook


def test_both_calls_of_a_second_order_step_are_guided_alike(components: Components) -> None:
    counts: list[int] = []
    handle = components.unet.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    latents_of(components, recipe("cfg", "heun", count=1, guidance_start=0.5))
    handle.remove()
    assert counts == [1] * 6 + [2] * 5


def test_denoise_takes_a_plan_alone(components: Components) -> None:
    sampler = build_scheduler("ddim", components.scheduler_config)
    set_steps(sampler, 2, 1.0, components.device)
    with torch.inference_mode():
        steps = list(
            denoise(
                components.denoiser, sampler, name="ddim", latents=torch.ones(1, 4, 8, 8), embeds=torch.zeros(2, 77, 256), rng=generators([1]),
                guidance=GuidancePlan(scale=3.0, style="tangential", end=0.5),
            )
        )  # fmt: skip
    assert len(steps) == 2
