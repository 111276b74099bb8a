"""How the bundled weights came about, by name: nothing else decides what training does."""

from __future__ import annotations

from dataclasses import dataclass

from engine.starter.decoder import DecoderPlan
from engine.starter.unet import UnetPlan


@dataclass(frozen=True)
class TrainingRecipe:
    scenes: int
    seed: int
    text_steps: int
    unet: tuple[UnetPlan, ...]
    # None: the decoder of the bundle stays.
    decoder: DecoderPlan | None = None
    # Scenes that the denoiser of the bundle noises part of the way and walks back, for the decoder.
    walked: int = 0
    # Wide scenes hold one to three subjects, near and far.
    is_wide: bool = False
    # Goes on from the bundled weights: tokenizer and patches stay as they are, and the decoder begins there.
    starts_from_bundle: bool = False


RECIPES = {
    # Two CPU cores: small pictures until subjects stand, then full size.
    "starter-v1": TrainingRecipe(
        scenes=20_000,
        seed=20261121,
        text_steps=450,
        unet=(
            UnetPlan(size=128, batch=32, learning_rate=8e-4, minutes=45, cooldown=0.2),
            UnetPlan(size=256, batch=16, learning_rate=5e-4, minutes=35, cooldown=0.4),
        ),
        decoder=DecoderPlan(minutes=12, learning_rate=1e-3, subject_weight=0),
    ),
    # From those weights to more subjects in a picture, near and far.
    "starter-v2": TrainingRecipe(
        scenes=20_000,
        seed=20261122,
        text_steps=300,
        unet=(UnetPlan(size=256, batch=16, learning_rate=5e-4, minutes=140, cooldown=0.4),),
        is_wide=True,
        starts_from_bundle=True,
    ),
    # The decoder goes on, with more weight on subjects and on what the denoiser leaves: every other weight stays. The scenes are those of starter-v2.
    "starter-v3": TrainingRecipe(
        scenes=20_000,
        seed=20261122,
        text_steps=0,
        unet=(),
        walked=6_000,
        decoder=DecoderPlan(minutes=50, walked_share=0.5),
        is_wide=True,
        starts_from_bundle=True,
    ),
    # The denoiser goes on with another optimiser and more weight on subjects: every other weight stays. The scenes are those of starter-v2.
    "starter-v4": TrainingRecipe(
        scenes=20_000,
        seed=20261122,
        text_steps=0,
        unet=(UnetPlan(size=256, batch=16, learning_rate=5e-4, minutes=62, cooldown=0.7, subject_weight=2, seed=4),),
        is_wide=True,
        starts_from_bundle=True,
    ),
}
