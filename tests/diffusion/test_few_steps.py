"""One, two and three steps, and sources of which one step is left: every sampler and noise schedule of every family comes to numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contract.families import FAMILIES, samplers_of
from engine.contract.schedulers import SchedulerName, is_possible, schedules_of
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.img2img import image_to_image
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder
from tests.diffusion.families import STEPS, make_family, pipeline
from tests.diffusion.test_families import BOUND, asked_of_theirs, picture, pixels, recipe
from tests.diffusion.test_noise_plan import PUBLISHED
from tests.diffusion.tiny import make_model

# Settings of a model's own scheduler beside those of the tiny ones.
MODELS: dict[str, tuple[str, dict[str, Any] | None]] = {
    **{key: (key, None) for key in FAMILIES},
    **{f"published {name}": found for name, found in PUBLISHED.items()},
    "sdxl that predicts v": ("sdxl", {**STEPS, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
}
WALKS = [(model, name) for model, (family, _) in MODELS.items() for name in samplers_of(family)]
# Steps, and the strength that leaves one of them.
LAST = [(1, 0.5), (2, 0.5), (3, 0.6), (20, 0.01)]
Find = Callable[[str], Components]


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    room, loaded = tmp_path_factory.mktemp("few"), dict[str, Components]()

    def found(model: str) -> Components:
        family, settings = MODELS[model]
        if family not in loaded:
            folder: Path = make_model(room / family, in_channels=4) if family == "sd1" else make_family(room / family, family)
            loaded[family] = load_components(folder, device=torch.device("cpu"), dtype=torch.float32)
        return replace(loaded[family], scheduler_config=settings) if settings else loaded[family]

    return found


@pytest.mark.parametrize(("model", "name"), WALKS)
def test_a_walk_of_few_steps_comes_to_numbers(model: str, name: SchedulerName, find: Find) -> None:
    components = find(model)
    prompts, drawn = PromptEncoder(components), 0
    for schedule in (None, *schedules_of(name)):
        for steps, strength in [(1, None), (2, None), (3, None), *LAST]:
            if not is_possible(name, schedule, steps):
                continue
            asked = recipe(components, steps=steps, scheduler=name, schedule=schedule)
            if strength is None:
                walk = text_to_image(components, prompts, asked)
            else:
                asked = asked.model_copy(update={"mode": "img2img", "source": "0" * 64, "strength": strength, "fit": "stretch"})
                assert asked.steps_run == 1
                walk = image_to_image(components, prompts, asked, picture())
            for step in walk:
                assert torch.isfinite(step.latents).all(), (schedule, steps, strength, step.index)
                assert torch.isfinite(step.denoised).all(), (schedule, steps, strength, step.index)
            drawn += 1
    assert drawn >= 7


@pytest.mark.parametrize("name", ["flow_euler", "flow_unipc"])
def test_one_step_goes_from_pure_noise_to_the_picture_where_the_last_level_is_named(name: SchedulerName, find: Find) -> None:
    """diffusers computes 0 / 0 there; without the name of a last level, which one step does not have, it draws the same picture."""
    components = find("published qwen")
    asked = recipe(components, steps=1, scheduler=name)
    *_, last = text_to_image(components, PromptEncoder(components), asked)
    assert last.sigma / (1 + last.sigma) == pytest.approx(1, abs=2e-3)
    if name == "flow_euler":
        plain = replace(components, scheduler_config={**components.scheduler_config, "shift_terminal": None})
        theirs = pipeline(plain, "txt2img")(**asked_of_theirs(plain, asked)).images
        assert float((pixels(components, last) - theirs).abs().max()) <= BOUND
