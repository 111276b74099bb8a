"""The recipe inside a picture file: once as canonical JSON, once as the text that AUTOMATIC1111 made common."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from engine.contract.errors import DamagedFile
from engine.contract.recipe import Recipe
from engine.contract.schedulers import SCHEDULE_LABELS, SCHEDULER_LABELS

RECIPE_KEY = "easel"
PARAMETERS_KEY = "parameters"
METADATA_MAX_BYTES = 256 * 1024


def png_info(recipe: Recipe) -> PngInfo:
    """Text chunks for one picture. iTXt, because prompts are in any script."""
    info = PngInfo()
    info.add_itxt(RECIPE_KEY, recipe.canonical_json())
    info.add_itxt(PARAMETERS_KEY, parameters_text(recipe))
    return info


def parameters_text(recipe: Recipe) -> str:
    """The recipe in AUTOMATIC1111's layout: prompt, negative prompt, one line of settings."""
    settings = {
        "Steps": recipe.steps,
        "Sampler": SCHEDULER_LABELS[recipe.scheduler],
        "CFG scale": f"{recipe.guidance_scale:g}",
        "Seed": recipe.seed,
        "Size": f"{recipe.width}x{recipe.height}",
        "Model hash": recipe.model_hash[:10],
        "Model": recipe.model,
        **_of_mode(recipe),
        **_of_controls(recipe),
        "Version": "Easel",
    }
    # The tag is how that program asks for an adapter.
    lines = [" ".join([recipe.prompt, *(f"<lora:{use.name}:{use.weight:g}>" for use in recipe.loras or ())])]
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
        "Tiling": None if recipe.seamless is None else True,
    }
    return {name: f"{value:g}" if isinstance(value, float) else value for name, value in known.items() if value is not None}


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
    try:
        with Image.open(source, formats=("PNG",)) as image:
            text = image.info.get(RECIPE_KEY)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise DamagedFile("This file is not a PNG picture.", "Choose a picture that was made here.", "file") from error
    if not isinstance(text, str):
        raise DamagedFile("This picture carries no recipe.", "Its metadata was removed, or another program made it.", "file")
    if len(text) > METADATA_MAX_BYTES:
        raise DamagedFile("The recipe in this picture is too large.", "It was altered.", "file")
    return Recipe.from_json(text)
