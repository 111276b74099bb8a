"""Textures that tile: in one piece and enlarged, with a model that is afterwards what it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine import Engine
from engine.diffusion.images import Rgb
from engine.diffusion.loading import load_components
from engine.diffusion.seamless import seamless
from tests.conftest import OWNER, STARTER
from tests.pictures import draw, read, steps_across


def wrap_energy(picture: Rgb) -> NDArray[np.float64]:
    """The step from the last line back to the first over the mean inner step, along x and y."""
    values = picture.astype(np.float64)
    across = np.array([np.abs(values[:, 0] - values[:, -1]).mean(), np.abs(values[0] - values[-1]).mean()])
    return across / steps_across(picture).mean(1)


def test_textures_tile_also_when_they_are_enlarged(inline_engine: Engine) -> None:
    energies: dict[str, list[NDArray[np.float64]]] = {"plain": [], "x": [], "xy": [], "xy ×2": []}
    for seed in range(2):
        values = {"prompt": "a forest", "seed": seed, "steps": 6}
        for axes in (None, "x", "xy"):
            picture = draw(inline_engine, "txt2img", seamless=axes, **values)[0]
            energies[axes or "plain"].append(wrap_energy(read(picture)))
        source = inline_engine.input_from_picture(picture.id, OWNER).hash
        energies["xy ×2"].append(
            wrap_energy(
                read(
                    draw(inline_engine, "upscale", seamless="xy", source=source, factor=2, upscaler="lanczos", strength=0.4, overlap=32, **values)[0]
                )
            )
        )
    mean = {name: np.mean(found, axis=0) for name, found in energies.items()}
    print("wrap energy (x, y):", {name: found.round(2).tolist() for name, found in mean.items()})
    assert (mean["plain"] > 4).all()
    assert mean["x"][0] < 1.5
    assert mean["x"][1] > 4
    # Sky over ground has a horizon somewhere: along y its step may lie anywhere, also at the edge.
    assert (mean["xy"] < (1.5, 3)).all()
    assert (mean["xy ×2"] < (1.5, 3)).all()


def test_the_seamless_context_leaves_no_trace_and_knows_no_edge() -> None:
    components = load_components(STARTER, device=torch.device("cpu"), dtype=torch.float32)
    torch.manual_seed(1)
    latents, embeds = torch.randn(1, components.latent_channels, 16, 16), torch.randn(1, 8, components.unet.config["cross_attention_dim"])

    def answers(sample: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            noise = components.unet(sample, torch.tensor(500), encoder_hidden_states=embeds, return_dict=False)[0]
            return noise, components.vae.decode(sample, return_dict=False)[0]

    weights = {name: weight.clone() for name, weight in components.unet.state_dict().items()}
    before = answers(latents)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def stop_halfway() -> None:
        with seamless([components.unet, components.vae], "xy"):
            # No place is an edge: what is moved around the corner comes out moved, and is otherwise the same. Eight: the network halves thrice.
            seen.extend((answers(latents), answers(latents.roll((8, 8), (2, 3)))))
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        stop_halfway()
    wrapped, moved = seen
    worst = [float((one.roll((8 * k, 8 * k), (2, 3)) - two).abs().max()) for one, two, k in zip(wrapped, moved, (1, 8), strict=True)]
    print(f"moved around the corner: largest difference {worst[0]:.1e} in noise, {worst[1]:.1e} in pixels")
    assert max(worst) < 1e-4
    assert not torch.equal(before[0], wrapped[0])
    assert all(torch.equal(one, two) for one, two in zip(before, answers(latents), strict=True))
    assert all(torch.equal(weight, weights[name]) for name, weight in components.unet.state_dict().items())
    layers = [layer for part in (components.unet, components.vae) for layer in part.modules()]
    assert not any("_conv_forward" in vars(layer) for layer in layers)
