"""Weights, chunks and changing words on the real model: nothing is changed by 1, and everything else is what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from engine.contract.recipe import Recipe
from engine.contract.schedulers import SchedulerName
from engine.diffusion.images import to_rgb
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.schedulers import build_scheduler
from engine.diffusion.text import PromptEncoder
from engine.diffusion.voices import weigh
from tests.conftest import STARTER


@pytest.fixture(scope="module")
def components() -> Components:
    return load_components(STARTER, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def prompts(components: Components) -> PromptEncoder:
    return PromptEncoder(components)


def recipe(prompt: str, **fields: Any) -> Recipe:
    plain = {
        "model": "starter", "model_hash": "", "prompt": prompt, "negative_prompt": "", "steps": 6, "guidance_scale": 4.0, "scheduler": "ddim",
        "width": 64, "height": 64, "seed": 3, "count": 1,
    }  # fmt: skip
    return Recipe.model_validate({**plain, **fields})


def latents_of(components: Components, asked: Recipe) -> torch.Tensor:
    *_, last = text_to_image(components, PromptEncoder(components), asked)
    return last.latents


@pytest.mark.parametrize("text", ["a (red:1.0) castle", "a (red:1) castle", "([a red castle])", "a [red:red:0.5] castle", "a [red|red] castle"])
def test_a_weight_of_one_changes_nothing_to_the_bit(components: Components, prompts: PromptEncoder, text: str) -> None:
    assert torch.equal(prompts.encode(text, text), prompts.encode("a red castle", "a red castle"))
    assert torch.equal(
        latents_of(components, recipe(text, negative_prompt=text)), latents_of(components, recipe("a red castle", negative_prompt="a red castle"))
    )


def test_a_weight_multiplies_its_own_tokens(prompts: PromptEncoder) -> None:
    plain, heavy = prompts.encode("a red castle", None), prompts.encode("a (red:1.5) castle", None)
    torch.testing.assert_close(heavy[0, 2], plain[0, 2] * 1.5)
    others = [0, 1, *range(3, 77)]
    assert torch.equal(heavy[0, others], plain[0, others])
    negative = prompts.encode("x", "a (red:1.5) castle")
    assert torch.equal(negative[0], heavy[0])


def test_the_mean_of_a_chunk_is_restored() -> None:
    states = torch.randn(2, 77, 16, generator=torch.Generator().manual_seed(0)) - 0.3
    weighted = weigh(states, [[1.0, 1.4, 0.5], []])
    assert torch.equal(weighted[1], states[1])
    assert float(weighted[0].mean()) == pytest.approx(float(states[0].mean()), rel=1e-4)
    ratio = weighted[0] / states[0]
    torch.testing.assert_close(ratio[2] / ratio[1], torch.full((16,), 1.4))
    torch.testing.assert_close(ratio[3] / ratio[0], torch.full((16,), 0.5))


def test_values_balanced_around_zero_keep_their_scale() -> None:
    states = torch.randn(1, 77, 16, generator=torch.Generator().manual_seed(0))
    states -= states.mean()
    weighted = weigh(states, [[2.0]])
    assert torch.equal(weighted[0, 1], states[0, 1] * 2)
    assert torch.equal(weighted[0, 2:], states[0, 2:])


def test_weights_reach_over_chunks(prompts: PromptEncoder) -> None:
    words = "a red castle " * 40
    plain, heavy = prompts.encode(words, None), prompts.encode(f"({words}:1.3)", None)
    assert plain.shape == heavy.shape == (1, 154, 256)
    ratio = (heavy / plain)[0].median(1).values
    assert ratio[[1, 75, 78, 77 + 45]].tolist() == pytest.approx([1.3] * 4)
    assert ratio[[0, 76, 77, 153]].tolist() == pytest.approx([1] * 4)


def test_break_begins_a_chunk(prompts: PromptEncoder) -> None:
    parted = prompts.encode("a red castle BREAK a blue ship", None)
    assert parted.shape[1] == 154
    assert torch.allclose(parted[:, :77], prompts.encode("a red castle", None), atol=1e-5)
    assert torch.allclose(parted[:, 77:], prompts.encode("a blue ship", None), atol=1e-5)
    assert torch.equal(prompts.encode("BREAK", None), prompts.encode("", None))
    assert torch.isfinite(prompts.encode("BREAK BREAK a", "b")).all()


def by_hand(
    components: Components, prompts: PromptEncoder, said: list[tuple[str, str]], scheduler_name: SchedulerName, calls_per_step: int
) -> torch.Tensor:
    """A walk with the words of each step given one by one, by the stock scheduler."""
    scheduler: Any = build_scheduler(scheduler_name, components.scheduler_config)
    scheduler.set_timesteps(len(said))
    latents = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(3)) * scheduler.init_noise_sigma
    unet: Any = components.unet
    with torch.inference_mode():
        for index, timestep in enumerate(scheduler.timesteps):
            prompt, negative = said[index // calls_per_step]
            embeds = prompts.encode(prompt, negative)
            output = unet(scheduler.scale_model_input(torch.cat([latents] * 2), timestep), timestep, encoder_hidden_states=embeds).sample
            unconditional, conditional = output.chunk(2)
            latents = scheduler.step(unconditional + 4.0 * (conditional - unconditional), timestep, latents).prev_sample
    return latents


@pytest.mark.parametrize(("scheduler", "calls"), [("ddim", 1), ("heun", 2), ("dpmpp_2m", 1)])
def test_a_schedule_is_two_phases(components: Components, prompts: PromptEncoder, scheduler: SchedulerName, calls: int) -> None:
    asked = recipe("a [red castle:blue ship:0.5] at sea", negative_prompt="[blurry::2]", scheduler=scheduler)
    first, second = "a red castle at sea", "a blue ship at sea"
    said = [(first, "blurry")] * 2 + [(first, "")] + [(second, "")] * 3
    assert torch.equal(latents_of(components, asked), by_hand(components, prompts, said, scheduler, calls))


def test_words_take_turns(components: Components, prompts: PromptEncoder) -> None:
    said = [("a castle", ""), ("a ship", "")] * 3
    assert torch.equal(latents_of(components, recipe("a [castle|ship]")), by_hand(components, prompts, said, "ddim", 1))


def test_words_may_grow_by_a_chunk_on_the_way(components: Components, prompts: PromptEncoder) -> None:
    long = "a red castle " * 30
    said = [("a", "")] * 3 + [(f"a{long}", "")] * 3
    assert torch.equal(latents_of(components, recipe(f"a[{long}:0.5]")), by_hand(components, prompts, said, "ddim", 1))


def test_a_batch_with_changing_words_equals_its_pictures(components: Components) -> None:
    batch = latents_of(components, recipe("a [castle|ship] [at sea:0.5]", count=2))
    alone = latents_of(components, recipe("a [castle|ship] [at sea:0.5]").model_copy(update={"seed": 4}))
    # A batch is summed in another order; that rounds at the size of the values.
    torch.testing.assert_close(batch[1:], alone, atol=1e-5 * float(alone.abs().max()), rtol=0)


@pytest.mark.parametrize(("word", "channel"), [("red", 0), ("blue", 2)])
def test_more_weight_is_more_of_it(components: Components, word: str, channel: int) -> None:
    """Mean excess of the word's own channel in the middle of six pictures, in 8-bit levels."""

    def excess(weight: float) -> float:
        asked = f"a ({word}:{weight}) castle on green hills by day, in the centre, close up"
        *_, last = text_to_image(
            components,
            PromptEncoder(components),
            recipe(asked, count=6, seed=0, scheduler="dpmpp_2m", guidance_scale=3, steps=8, width=128, height=128),
        )
        with torch.inference_mode():
            middle = np.stack([to_rgb(one) for one in decode(components, last.latents)])[:, 32:96, 32:96].astype(float)
        return float((middle[..., channel] - middle.mean(-1)).mean())

    found = [excess(weight) for weight in (1.0, 1.3, 1.6)]
    print(f"{word}: {found[0]:.1f} at weight 1, {found[1]:.1f} at 1.3, {found[2]:.1f} at 1.6")
    assert found[0] + 2 < found[1] < found[2] - 2


def test_more_weight_goes_further_in_the_same_direction(components: Components, prompts: PromptEncoder) -> None:
    """Along the way from the prediction at weight 0 to that at 1, in units of its length, at the middle of the schedule."""
    unet: Any = components.unet
    noisy = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0))

    def predict(weight: float) -> torch.Tensor:
        with torch.inference_mode():
            return unet(noisy, torch.tensor(500), encoder_hidden_states=prompts.encode(f"a (red:{weight}) castle at night", None)).sample

    one = predict(1)
    way = one - predict(0)
    far = [float(((predict(weight) - one) * way).sum() / way.square().sum()) for weight in (0.5, 0.8, 1.2, 1.5, 2)]
    print("weights 0.5, 0.8, 1.2, 1.5, 2:", [round(one, 2) for one in far])
    assert far == sorted(far)
    assert far[1] < 0 < far[2]
