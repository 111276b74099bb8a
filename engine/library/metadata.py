"""The recipe inside a picture file: once as canonical JSON, once as the text that AUTOMATIC1111 made common."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from engine.contract.errors import DamagedFile
from engine.contract.recipe import Recipe
from engine.contract.schedulers import SCHEDULE_LABELS, SCHEDULER_LABELS
from engine.library.carriers import Texts, read_texts


def texts_of(recipe: Recipe) -> Texts:
    """What a file of this recipe carries."""
    return Texts(recipe.canonical_json(), parameters_text(recipe))


def parameters_text(recipe: Recipe) -> str:
    """The recipe in AUTOMATIC1111's layout: prompt, negative prompt, one line of settings."""
    settings = {
        "Steps": recipe.steps,
        "Sampler": SCHEDULER_LABELS[recipe.scheduler],
        "CFG scale": _number(recipe.guidance_scale),
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": recipe.model_hash[:10],
        "Model": recipe.model,
        **_of_mode(recipe),
        **_of_controls(recipe),
        "Version": "Easel",
    }
    # The tag is how that program asks for an adapter.
    lines = [" ".join([recipe.prompt, *(f"<lora:{use.name}:{_number(use.weight)}>" for use in recipe.loras or ())])]
    if recipe.negative_prompt:
        lines.append(f"Negative prompt: {recipe.negative_prompt}")
    lines.append(", ".join(f"{key}: {value}" for key, value in settings.items()))
    return "\n".join(lines)


def _of_mode(recipe: Recipe) -> dict[str, object]:
    """The settings that AUTOMATIC1111 also knows, under its names."""
    known = {
        "Denoising strength": recipe.strength,
        "Variation seed": recipe.variation_seed,
        "Variation seed strength": recipe.variation_strength,
        "Mask blur": recipe.feather,
        "Postprocess upscale by": recipe.factor,
        "Postprocess upscaler": recipe.upscaler,
        "Schedule type": None if recipe.schedule is None else SCHEDULE_LABELS[recipe.schedule],
        "Clip skip": recipe.clip_skip,
        "VAE": recipe.vae if recipe.vae_hash else None,
        "VAE hash": recipe.vae_hash[:10] if recipe.vae_hash else None,
        "Tiling": None if recipe.seamless is None else True,
        # Of the ways to make weights smaller it has this one.
        "FP8 weight": "Enable" if recipe.packing == "fp8" else None,
    }
    return {name: _number(value) if isinstance(value, float) else value for name, value in known.items() if value is not None}


def _number(value: float) -> str:
    """As short as people write it, and never another number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _of_controls(recipe: Recipe) -> dict[str, str]:
    """The units as that program's ControlNet extension writes them."""
    fits = {"crop": "Crop and Resize", "pad": "Resize and Fill", "stretch": "Just Resize"}
    return {
        f"ControlNet {number}": (
            f'"Module: {use.preprocessor}, Model: {use.control}, Weight: {use.weight:g}, Resize Mode: {fits[use.fit]}, '
            f'Guidance Start: {use.start:g}, Guidance End: {use.end:g}"'
        )
        for number, use in enumerate(recipe.controls or ())
    }


def read_recipe(source: Path | BinaryIO) -> Recipe:
    """The recipe of a picture. Raises `DamagedFile` when it is no picture or carries none; pixels are not decoded."""
    text = read_texts(source).recipe
    if text is None:
        raise DamagedFile("This picture carries no recipe.", "Its metadata was removed, or another program made it.", "file")
    return Recipe.from_json(text)
