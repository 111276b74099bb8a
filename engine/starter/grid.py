"""A sheet of pictures to look at: `python -m engine.starter.grid --out grid.jpg`. Stock diffusers pipeline, fixed seeds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image

PROMPTS = (
    "a red castle in the mountains at sunset", "a white lighthouse by the sea at night", "a blue sailing ship on the sea at dawn", "a yellow balloon over green hills by day",
    "a green robot in a city at night", "a purple crystal on an alien planet", "a red car in the desert at sunset", "a pink house on green hills at dawn",
    "a red mushroom in a forest by day", "a white rocket in the desert by day", "an orange tree on green hills at sunset", "a blue windmill on green hills by day",
    "a yellow pyramid in the desert at sunset", "a purple saucer on an alien planet at night", "a green bird in the mountains by day", "a red tower in a canyon at sunset",
)  # fmt: skip


def load_pipeline(folder: Path) -> object:
    """The stock pipeline on CPU or GPU: nothing of our own engine, so that its faults cannot hide the model's."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.bfloat16, local_files_only=True).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw_grid(folder: Path, *, size: int, columns: int = 4, steps: int = 20, guidance: float = 4.0, seed: int = 1) -> Image.Image:
    pipe = load_pipeline(folder)
    sheet = Image.new("RGB", (columns * size, -(-len(PROMPTS) // columns) * size))
    for number, prompt in enumerate(PROMPTS):
        generator = torch.Generator("cpu").manual_seed(seed + number)
        image = pipe(prompt, height=size, width=size, num_inference_steps=steps, guidance_scale=guidance, generator=generator).images[0]  # type: ignore[operator]
        sheet.paste(image, (number % columns * size, number // columns * size))
    return sheet


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.grid", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path("data/grid.jpg"))
    options = parser.parse_args()
    draw_grid(options.model, size=options.size).save(options.out, quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
