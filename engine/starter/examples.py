"""The pictures of the example prompts on the empty stage: `python -m engine.starter.examples`. A click draws the same ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from PIL import Image

from engine.contract.recipe import Recipe
from engine.diffusion.device import pick_device, pick_dtype
from engine.diffusion.images import to_rgb
from engine.diffusion.latents import decode
from engine.diffusion.loading import load_components
from engine.diffusion.modes.txt2img import text_to_image
from engine.diffusion.text import PromptEncoder

PRESETS = Path(__file__).resolve().parents[2] / "presets"


def draw_examples(folder: Path, prompts: list[dict[str, object]], out: Path) -> None:
    """Draw each prompt at the model's own defaults and write `out/1.jpg`, `out/2.jpg` …"""
    device = pick_device("auto")
    components = load_components(folder, device=device, dtype=pick_dtype("auto", device))
    encoder = PromptEncoder(components)
    facts = json.loads((folder / "easel.json").read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(prompts, start=1):
        width, height = facts["default_size"]
        recipe = Recipe.model_validate(
            {
                "model": folder.name, "model_hash": "", "prompt": example["prompt"], "negative_prompt": "", "steps": facts["default_steps"],
                "guidance_scale": facts["default_guidance"], "scheduler": facts["default_scheduler"], "width": width, "height": height,
                "seed": example["seed"], "count": 1,
            }
        )  # fmt: skip
        *_, last = text_to_image(components, encoder, recipe)
        with torch.inference_mode():
            pixels = decode(components, last.latents)[0]
        Image.fromarray(to_rgb(pixels)).save(out / f"{number}.jpg", quality=88)


def main() -> int:
    prompts = json.loads((PRESETS / "examples.json").read_text(encoding="utf-8"))
    draw_examples(PRESETS / "models" / "starter", prompts, PRESETS / "examples")
    return 0


if __name__ == "__main__":
    sys.exit(main())
