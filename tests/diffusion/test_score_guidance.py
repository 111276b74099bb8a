"""A scorer that draws each step: the relation to every sampler's prediction, the score that rises, and a model that stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from engine import InvalidRequest, TextToImage
from engine.contract.recipe import Recipe, resolve
from engine.contract.schedulers import SchedulerName, samplers_for
from engine.diffusion.denoise import clean_latents, moved, set_steps
from engine.diffusion.latents import decode
from engine.diffusion.loading import Components, load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.schedulers import SAMPLERS, build_scheduler
from engine.diffusion.score_guidance import ScoreNudge, plain_words, score_nudge
from engine.diffusion.text import PromptEncoder
from engine.library.catalogue import read_card
from tests.conftest import STARTER
from tests.contract.test_recipe import CARD
from tests.diffusion.test_gaussian import CONFIGS
from tests.diffusion.tiny import make_model

PROMPT = "a red castle in the mountains at sunset"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def starter() -> Components:
    return load_components(STARTER, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def prompts(starter: Components) -> PromptEncoder:
    return PromptEncoder(starter)


def recipe(scheduler: SchedulerName = "dpmpp_2m", **values: Any) -> Recipe:
    fixed: dict[str, Any] = {
        "model": "starter", "model_hash": "", "prompt": PROMPT, "negative_prompt": "", "steps": 6, "guidance_scale": 3.0, "scheduler": scheduler,
        "width": 64, "height": 96, "seed": 5, "count": 2,
    }  # fmt: skip
    return Recipe(**{**fixed, **values})


def picture(components: Components, prompts: PromptEncoder, asked: Recipe) -> torch.Tensor:
    *_, last = text_to_image(components, prompts, asked)
    with torch.inference_mode():
        return decode(components, last.latents).clamp(-1, 1)


def score(components: Components, pictures: torch.Tensor, text: str) -> torch.Tensor:
    assert components.scorer is not None
    with torch.inference_mode():
        return components.scorer.score(pictures, [text])


@pytest.mark.parametrize("prediction_type", ["own", "sample"])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("scheduler", samplers_for(is_flow=False))
def test_a_moved_prediction_means_the_moved_picture(scheduler: SchedulerName, config: str, prediction_type: str) -> None:
    """Noise, velocity or clean latents: at every call the new prediction is of the old clean latents and what was added."""
    options = dict(CONFIGS[config])
    if prediction_type == "sample":
        options["prediction_type"] = "sample"
    sampler: Any = build_scheduler(scheduler, options)
    set_steps(sampler, 4, 1.0, CPU)
    rng = torch.Generator().manual_seed(2)
    for index in range(len(sampler.timesteps)):
        latents, prediction, change = torch.randn(3, 2, 4, 4, 4, generator=rng, dtype=torch.float64)
        latents = latents * float(sampler.init_noise_sigma)
        space = SAMPLERS[scheduler].space
        level, before = clean_latents(sampler, space, index, prediction, latents)
        if level == 0:
            continue  # The second call of KDPM2 a's last step: nothing is open any more, and the nudge is zero there.
        _, after = clean_latents(sampler, space, index, moved(sampler, space, index, prediction, change), latents)
        assert torch.allclose(after, before + change, rtol=1e-6, atol=1e-6 * max(1.0, float(before.abs().max())))


@pytest.mark.parametrize("scheduler", samplers_for(is_flow=False))
def test_the_score_rises_with_every_sampler(starter: Components, prompts: PromptEncoder, scheduler: SchedulerName) -> None:
    # KDPM2 a's four steps end in noise, whatever leads them.
    asked = recipe(scheduler, steps=8 if scheduler == "kdpm2_a" else 4, count=2, guidance_scale=1.0)
    plain = score(starter, picture(starter, prompts, asked), PROMPT)
    drawn = score(starter, picture(starter, prompts, asked.model_copy(update={"score_guidance": "clip", "score_scale": 100.0})), PROMPT)
    print(f"{scheduler}: {plain.tolist()} -> {drawn.tolist()}")
    assert float((drawn - plain).mean()) > 0.01


def test_classifier_guidance_raises_the_share_of_its_label(starter: Components, prompts: PromptEncoder) -> None:
    labels = ("a blue ship", "a red castle", "a green tree")

    def share(asked: Recipe) -> float:
        assert starter.scorer is not None
        with torch.inference_mode():
            features = starter.scorer.image_features(picture(starter, prompts, asked))
            return float((starter.scorer.logit_scale * features @ starter.scorer.text_features(labels).T).softmax(1)[:, 0].mean())

    plain = share(recipe())
    drawn = share(recipe(score_guidance="classifier", score_scale=300.0, score_target=" a blue ship | a red castle, a green tree"))
    print(f"share of the label: {plain:.4f} -> {drawn:.4f}")
    assert drawn > 1.2 * plain


def test_a_scale_of_nothing_is_the_plain_picture_to_the_byte(starter: Components, prompts: PromptEncoder) -> None:
    card = read_card(STARTER)
    asked = TextToImage(prompt=PROMPT, score_guidance="clip", score_scale=0, seed=4, steps=2, width=64, height=64)
    assert resolve(asked, card) == resolve(asked.model_copy(update={"score_guidance": None}), card)
    silent = picture(starter, prompts, recipe(score_guidance="clip", score_scale=0.0))
    assert torch.equal(silent, picture(starter, prompts, recipe()))


def test_the_window_holds_for_the_scorer_too(starter: Components, prompts: PromptEncoder) -> None:
    asked = recipe(score_guidance="clip", score_scale=100.0, guidance_start=0.5)
    drawn = [step.latents.clone() for step in text_to_image(starter, prompts, asked)]
    plain = [step.latents.clone() for step in text_to_image(starter, prompts, recipe(guidance_start=0.5))]
    assert [torch.equal(one, other) for one, other in zip(drawn, plain, strict=True)] == [True] * 3 + [False] * 3


def test_a_nudge_goes_uphill_and_no_further_than_it_may(starter: Components) -> None:
    clean = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    small, wild = (ScoreNudge(starter, starter.scorer, (PROMPT,), scale=scale) for scale in (5.0, 1e9))
    with torch.inference_mode():
        for nudge in (small, wild):
            change = nudge(clean, 1.0)
            assert (change.square().mean((1, 2, 3)).sqrt() <= 0.2501 * clean.std((1, 2, 3))).all()
        before, after = (score(starter, decode(starter, one).clamp(-1, 1), PROMPT) for one in (clean, clean + small(clean, 1.0)))
        assert (after > before).all()
        assert torch.equal(small(clean, 0.0), torch.zeros_like(clean))
    for module in (starter.vae, starter.unet, starter.text_encoder):
        assert all(weight.grad is None and not weight.requires_grad for weight in module.parameters())


def test_the_words_that_are_scored_are_plain() -> None:
    assert plain_words(recipe(prompt="a (red:1.2) [castle:ship:0.5] BREAK at \\(sunset\\)", steps=10)) == "a red ship at (sunset)"


def test_a_model_without_a_scorer_says_so(tmp_path: Path) -> None:
    assert read_card(STARTER).has_scorer
    with pytest.raises(InvalidRequest, match=r"CLIP guidance is not available: Starter brings no scorer\.") as caught:
        resolve(TextToImage(prompt="x", score_guidance="clip"), CARD)
    assert caught.value.field == "score_guidance"
    four = load_components(make_model(tmp_path / "four", in_channels=4), device=CPU, dtype=torch.float32)
    assert four.scorer is None
    with pytest.raises(InvalidRequest, match="brings no scorer"):
        score_nudge(four, recipe(score_guidance="clip", score_scale=100.0))


def test_a_clip_model_in_its_folder_serves_any_model(tmp_path: Path) -> None:
    """An untrained one: what is drawn along is only its taste, but along that it is drawn."""
    folder = make_model(tmp_path / "four", in_channels=4)
    tokenizer = CLIPTokenizer.from_pretrained(STARTER / "tokenizer")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder / "clip")
    tokenizer.save_pretrained(folder / "clip")
    settings = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (folder / "clip" / "preprocessor_config.json").write_text(json.dumps(settings))
    assert read_card(folder).has_scorer
    four = load_components(folder, device=CPU, dtype=torch.float32)
    prompts = PromptEncoder(four)
    made = [picture(four, prompts, recipe(width=64, height=64, **more)) for more in ({}, {"score_guidance": "clip", "score_scale": 1000.0})]
    assert not np.allclose(made[0], made[1], atol=1e-4)
    assert torch.isfinite(made[1]).all()
