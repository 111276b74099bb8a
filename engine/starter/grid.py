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
    "a white castle on the ice at dawn", "a blue castle in a swamp at night, digital painting", "an orange castle by the sea by day", "a pink castle in the forest at sunset",
    "two red towers on green hills by day", "a blue tower in the city at night", "a white tower in the desert at dawn", "a yellow tower by the sea at sunset",
    "a red lighthouse on the ice by day", "a green lighthouse by the sea at sunset", "three white houses in the mountains by day", "a red house in a forest at night",
    "a blue house on the ice at dawn", "a white windmill in the desert at sunset", "a red windmill by the sea by day", "a purple pyramid on an alien planet at night",
    "an orange pyramid in a canyon at dawn", "two blue ships on the sea at sunset", "a red ship on the sea at night under stars", "a white ship on the ice by day",
    "three red balloons over the mountains by day", "a pink balloon over a city at sunset", "a blue balloon over a canyon at dawn", "a red rocket on an alien planet at night",
    "an orange rocket in a city by day", "a green saucer over the desert at night", "a pink saucer over a swamp at dawn", "a blue robot in the desert at sunset",
    "two green robots on an alien planet", "a yellow robot on the ice by day", "a blue car in the city at night", "a yellow car in a canyon by day",
    "a white car in the mountains at dawn", "three green trees in a swamp by day", "a pink tree in the city at dawn", "a red tree on the ice at sunset",
    "two yellow mushrooms in a swamp at night", "a white mushroom on an alien planet at dawn", "a blue mushroom in the mountains by day", "three pink crystals on the ice at night",
    "a green crystal in a canyon at sunset", "a white bird over the sea by day", "two red birds over the forest at sunset", "a blue bird in the city at dawn",
    "far away on the left a red castle in the desert", "a large white lighthouse on the right, fog, by the sea", "a small blue ship in the middle of the sea in the rain", "a giant purple crystal, snow, on the ice at night",
)  # fmt: skip


def load_pipeline(folder: Path) -> object:
    """The stock pipeline on CPU or GPU: nothing of our own engine, so that its faults cannot hide the model's."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.bfloat16, local_files_only=True).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw_grid(
    folder: Path, *, size: int, shown: int | None = None, columns: int = 8, steps: int = 20, guidance: float = 4.0, seed: int = 1
) -> Image.Image:
    """Every prompt at `size`, each reduced to `shown` pixels on the sheet."""
    pipe = load_pipeline(folder)
    cell = shown or size
    sheet = Image.new("RGB", (columns * cell, -(-len(PROMPTS) // columns) * cell))
    for number, prompt in enumerate(PROMPTS):
        generator = torch.Generator("cpu").manual_seed(seed + number)
        image = pipe(prompt, height=size, width=size, num_inference_steps=steps, guidance_scale=guidance, generator=generator).images[0]  # type: ignore[operator]
        sheet.paste(image.resize((cell, cell), Image.Resampling.LANCZOS), (number % columns * cell, number // columns * cell))
    return sheet


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.grid", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--shown", type=int, default=None, help="pixels of each picture on the sheet")
    parser.add_argument("--out", type=Path, default=Path("data/grid.jpg"))
    options = parser.parse_args()
    draw_grid(options.model, size=options.size, shown=options.shown).save(options.out, quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
