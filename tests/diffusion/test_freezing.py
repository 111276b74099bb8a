"""A walk that is put aside goes on bit for bit: every sampler, at places all over its walk, through bytes on disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from engine import DamagedFile, TextToImage
from engine.contract.memory import Packing
from engine.contract.recipe import resolve
from engine.contract.schedulers import SCHEDULER_FACTS, SchedulerName, samplers_for
from engine.diffusion.freezing import freeze, thaw
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder
from engine.library.catalogue import BUNDLED, Catalogue

STEPS = 6


@cache
def starter(packing: Packing | None = None) -> Components:
    return load_components(BUNDLED / "starter", device=torch.device("cpu"), dtype=torch.float32, packing=packing)


@pytest.mark.parametrize("scheduler", samplers_for(is_flow=False))
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


@pytest.mark.parametrize("packing", [None, "nf4"])
def test_guidance_that_remembers_goes_on_too(packing: Packing | None, request_of: Callable[..., TextToImage], tmp_path: Path) -> None:
    """APG carries a momentum from call to call; what is on the disk is enough to go on with it. In 4 bits too"""
    model = starter(packing)
    prompts = PromptEncoder(model)
    request = request_of(scheduler="dpmpp_2m", steps=STEPS, guidance_style="apg", guidance_scale=9)
    recipe = resolve(request, Catalogue((BUNDLED,)).card("starter"))
    steps = list(text_to_image(model, prompts, recipe))
    path = tmp_path / "walk.safetensors"
    for step in text_to_image(model, prompts, recipe):
        if step.index == 2:
            path.write_bytes(freeze(step.walk, step.latents, picture=0, index=2, step=3))
            break
    frozen = thaw(path, torch.device("cpu"))
    assert frozen is not None
    assert any(isinstance(value, torch.Tensor) for value in frozen.carriers[1].values())
    rest = [step.latents for step in text_to_image(model, prompts, recipe, frozen=frozen)]
    assert torch.equal(rest[-1], steps[-1].latents)


def test_a_damaged_file_is_said_in_words_and_another_version_is_not_trusted(request_of: Callable[..., TextToImage], tmp_path: Path) -> None:
    recipe = resolve(request_of(steps=2), Catalogue((BUNDLED,)).card("starter"))
    step = next(iter(text_to_image(starter(), PromptEncoder(starter()), recipe)))
    whole = freeze(step.walk, step.latents, picture=0, index=0, step=1)
    path = tmp_path / "walk.safetensors"
    for damaged in (b"", whole[:-1], whole[:100], b"\0" * 200):
        path.write_bytes(damaged)
        with pytest.raises(DamagedFile):
            thaw(path, torch.device("cpu"))
    version = torch.__version__.encode()
    path.write_bytes(whole.replace(version, b"9" * len(version)))
    assert thaw(path, torch.device("cpu")) is None
