"""Style LoRAs: they learn, they load like any other, and what they draw is in their style."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.contract.recipe import Recipe
from engine.diffusion.adapters import AdapterShelf, Lora
from engine.diffusion.images import to_rgb
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder
from engine.library.loras import BUNDLED_LORAS, read_card
from engine.starter.lora import StyleTrainer, draw_style
from engine.starter.style_judge import StyleJudge
from engine.starter.styles import STYLES, TRIGGERS
from tests.conftest import STARTER


@pytest.fixture(scope="module")
def components() -> Components:
    return load_components(STARTER, device=torch.device("cpu"), dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def judge() -> StyleJudge:
    return StyleJudge.learn(per_style=24, seed=5)


def drawn(components: Components, style: str, loras: tuple[Lora, ...]) -> NDArray[np.uint8]:
    """Four pictures of four subjects, asked for with the style's words."""
    made: list[NDArray[np.uint8]] = []
    with AdapterShelf().applied(components, loras):
        for seed, what in enumerate(
            ("a red castle on green hills by day", "a yellow balloon in the mountains", "a blue ship at sea", "a white tower at sunset")
        ):
            recipe = Recipe(
                model="starter", model_hash="", prompt=f"{what}, {TRIGGERS[style]}", negative_prompt="", steps=12, guidance_scale=4.0,
                scheduler="dpmpp_2m", width=256, height=256, seed=seed, count=1,
            )  # fmt: skip
            *_, last = text_to_image(components, PromptEncoder(components), recipe)
            with torch.inference_mode():
                made.append(to_rgb(decode(components, last.latents)[0]))
    return np.stack(made)


def test_the_judge_knows_drawn_styles(judge: StyleJudge) -> None:
    right = {style: float((judge.answers(draw_style(style, 12, seed=77)[0]) == style).mean()) for style in STYLES}
    print({style: f"{share:.2f}" for style, share in right.items()})
    assert min(right.values()) >= 0.9


@pytest.mark.parametrize("style", sorted(STYLES))
def test_a_bundled_style_is_recognised(components: Components, judge: StyleJudge, style: str) -> None:
    path = BUNDLED_LORAS / f"{style}.safetensors"
    card = read_card(path)
    assert card.refusal is None
    assert (card.made_for, card.trigger, card.licence) == ("the starter", TRIGGERS[style], "Apache-2.0")
    assert card.bytes_on_disk <= 1_000_000
    plain, styled = (judge.answers(drawn(components, style, loras)) for loras in ((), (Lora(path, 1.0),)))
    print(f"{style}: recognised in {(styled == style).sum()} of 4 with the LoRA, in {(plain == style).sum()} without")
    assert (styled == style).sum() >= 3
    assert (styled == style).sum() > (plain == style).sum()


def test_an_adapter_learns_and_loads(tmp_path: Path, components: Components) -> None:
    trainer = StyleTrainer(STARTER, "neon", pictures=16, seed=1)
    losses = trainer.train(24)
    print(f"loss {np.mean(losses[:6]):.3f} → {np.mean(losses[-6:]):.3f}")
    assert np.mean(losses[-6:]) < np.mean(losses[:6])
    trainer.save(tmp_path / "neon.safetensors")
    with AdapterShelf().applied(components, (Lora(tmp_path / "neon.safetensors", 1.0),)):
        assert any("lora" in name for name, _ in components.unet.named_parameters())
