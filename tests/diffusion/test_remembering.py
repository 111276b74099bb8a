"""Words are projected once a walk, and nothing shows of it: the same bits, the same layers afterwards, nothing kept for another walk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from engine.contract.guidance import GuidancePlan
from engine.diffusion import denoise as denoise_module
from engine.diffusion.denoise import Step, denoise, set_steps, start_noise
from engine.diffusion.four_bits import FourBitLinear
from engine.diffusion.loading import Components, load_components
from engine.diffusion.remembering import WordMemory
from engine.diffusion.schedulers import build_scheduler
from tests.conftest import STARTER

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[None, "nf4"])
def components(request: pytest.FixtureRequest) -> Components:
    return load_components(STARTER, device=CPU, dtype=torch.bfloat16, packing=request.param)


def keys_and_values(components: Components) -> list[Any]:
    return [layer for name, module in components.unet.named_modules() if name.endswith("attn2") for layer in (module.to_k, module.to_v)]


def calls_into(layer: torch.nn.Module) -> tuple[list[int], Any]:
    """One entry for each product that a layer really makes, and what ends the counting."""
    made: list[int] = []
    product = type(layer).forward

    def counted(one: torch.nn.Module, given: torch.Tensor) -> torch.Tensor:
        if one is layer:
            made.append(len(given))
        return product(one, given)

    return made, counted


def walk(components: Components, embeds: Any, guidance: GuidancePlan, steps: int = 4) -> Iterator[Step]:
    scheduler = build_scheduler("dpmpp_2m", components.scheduler_config, None)
    begin = set_steps(scheduler, steps, 1.0, CPU)
    rng = [torch.Generator().manual_seed(3)]
    noise = start_noise(scheduler, torch.randn(1, components.latent_channels, 8, 8, generator=torch.Generator().manual_seed(1)))
    return denoise(components.denoiser, scheduler, name="dpmpp_2m", latents=noise, embeds=embeds, guidance=guidance, rng=rng, begin=begin)


def words(components: Components, seed: int, rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, 77, components.unet.config["cross_attention_dim"], generator=torch.Generator().manual_seed(seed)).bfloat16()


PLANS = {
    "cfg": GuidancePlan(scale=4.0),
    "perturbed": GuidancePlan(scale=4.0, style="pag", perturbed_scale=2.0),
    "window": GuidancePlan(scale=4.0, start=0.3, end=0.7),
}


@pytest.mark.parametrize("plan", PLANS)
def test_the_same_bits_from_fewer_products(components: Components, monkeypatch: pytest.MonkeyPatch, plan: str) -> None:
    told = words(components, 5)
    layer = keys_and_values(components)[0]
    made, counted = calls_into(layer)
    monkeypatch.setattr(type(layer), "forward", counted)
    with torch.inference_mode():
        latents = list(walk(components, told, PLANS[plan]))[-1].latents
        few = len(made)
        with pytest.MonkeyPatch.context() as without:
            without.setattr(denoise_module, "WordMemory", lambda _: WordMemory(torch.nn.Identity()))
            plain = list(walk(components, told, PLANS[plan]))[-1].latents
    print(f"{plan}: {few} products of a layer where there were {len(made) - few}")
    assert torch.equal(latents, plain)
    assert few <= 2
    assert len(made) - few >= 4


def test_words_that_change_on_the_way_are_projected_anew(components: Components) -> None:
    first, second = words(components, 5), words(components, 6)

    def changing(index: int, _total: int) -> torch.Tensor:
        return first if index < 2 else second

    with torch.inference_mode():
        changed = [step.latents for step in walk(components, changing, PLANS["cfg"])]
        same = [step.latents for step in walk(components, first, PLANS["cfg"])]
    assert torch.equal(changed[1], same[1])
    assert not torch.equal(changed[2], same[2])


def test_another_walk_remembers_nothing_of_one_that_was_left(components: Components) -> None:
    """Weights that changed in between count, also where the first walk was never ended; between two steps no layer is touched."""
    told, layer = words(components, 5), keys_and_values(components)[0]
    # Those of a layer in 4 bits are made anew each time that somebody looks.
    numbers = layer.scales if isinstance(layer, FourBitLinear) else layer.weight
    before = numbers.detach().clone()
    with torch.inference_mode():
        whole = list(walk(components, told, PLANS["cfg"]))[-1].latents
        left = walk(components, told, PLANS["cfg"])
        next(left)
    assert not any("forward" in vars(one) for one in keys_and_values(components))
    try:
        with torch.no_grad():
            numbers.mul_(1.5)
        with torch.inference_mode():
            changed = list(walk(components, told, PLANS["cfg"]))[-1].latents
    finally:
        with torch.no_grad():
            numbers.copy_(before)
    assert not torch.equal(changed, whole)
    with torch.inference_mode():
        assert torch.equal(list(walk(components, told, PLANS["cfg"]))[-1].latents, whole)
        assert torch.equal(list(left)[-1].latents, whole)


def test_a_call_that_raises_leaves_every_layer_as_it_was(components: Components) -> None:
    def pull_out() -> None:
        with WordMemory(components.unet).at_hand():
            assert all("forward" in vars(one) for one in keys_and_values(components))
            raise RuntimeError("pulled out")

    with pytest.raises(RuntimeError, match="pulled out"):
        pull_out()
    assert not any("forward" in vars(one) for one in keys_and_values(components))
