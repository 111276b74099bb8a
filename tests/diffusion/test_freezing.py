"""A walk that is put aside goes on bit for bit: every sampler, at places all over its walk, through bytes on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import torch

from engine import TextToImage
from engine.contract.recipe import resolve
from engine.contract.schedulers import SCHEDULER_FACTS, SchedulerName
from engine.diffusion.freezing import freeze, thaw
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder
from engine.library.catalogue import BUNDLED, Catalogue

STEPS = 6


@cache
def starter() -> Components:
    return load_components(BUNDLED / "starter", device=torch.device("cpu"), dtype=torch.float32)


@pytest.mark.parametrize("scheduler", get_args(SchedulerName))
def test_a_walk_goes_on_bit_for_bit(scheduler: SchedulerName, request_of: Callable[..., TextToImage], tmp_path: Path) -> None:
    prompts = PromptEncoder(starter())
    recipe = resolve(request_of(scheduler=scheduler, steps=STEPS), Catalogue((BUNDLED,)).card("starter"))
    whole = [step.latents.clone() for step in text_to_image(starter(), prompts, recipe)]
    facts = SCHEDULER_FACTS[scheduler]
    assert len(whole) == facts.calls * STEPS + facts.extra_calls
    path = tmp_path / "walk.safetensors"
    # In the middle of a step too, where the model is called twice in each.
    for place in (0, 3, 4, len(whole) - 2):
        for step in text_to_image(starter(), prompts, recipe):
            if step.index == place:
                path.write_bytes(freeze(step.walk, step.latents, picture=0, index=place, step=1))
                break
        frozen = thaw(path, torch.device("cpu"))
        assert frozen is not None
        rest = [step.latents for step in text_to_image(starter(), prompts, recipe, frozen=frozen)]
        assert len(rest) == len(whole) - place - 1
        assert all(torch.equal(a, b) for a, b in zip(rest, whole[place + 1 :], strict=True)), place
