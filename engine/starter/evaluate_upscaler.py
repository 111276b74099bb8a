"""Does the starter's upscaler beat plain filters? `python -m engine.starter.evaluate_upscaler`. Scenes that it never saw, loaded as the app loads it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from engine.diffusion.images import Rgb, resize, to_pixels, to_rgb
from engine.diffusion.upscalers import load_upscaler
from engine.starter.pairs import MEASURING_SEED, Pairs, make_pairs

BUNDLED = Path(__file__).resolve().parents[2] / "presets" / "upscalers" / "starter-x2.safetensors"


def measure(model: Any, pairs: Pairs) -> dict[str, dict[str, float]]:
    """Mean PSNR in dB against the scenes drawn large, by input ("clean", "decoded") and by way of enlarging."""
    report: dict[str, dict[str, float]] = {}
    for name, inputs in (("clean", pairs.clean), ("decoded", pairs.decoded)):
        found = [{way: psnr(made, truth) for way, made in enlarged(model, small).items()} for small, truth in zip(inputs, pairs.large, strict=True)]
        report[name] = {way: float(np.mean([one[way] for one in found])) for way in found[0]}
    return report


def enlarged(model: Any, small: Rgb) -> dict[str, Rgb]:
    """The picture at twice the size: by bicubic, by the app's plain filter, by the network."""
    height, width = small.shape[0] * 2, small.shape[1] * 2
    bicubic = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    with torch.inference_mode():
        ours = to_rgb(model((to_pixels(small) + 1) / 2)[0] * 2 - 1)
    return {"bicubic": bicubic, "lanczos": resize(small, width, height), "starter-x2": ours}


def psnr(made: Rgb, truth: Rgb) -> float:
    """Peak signal-to-noise ratio in dB of two pictures of uint8."""
    return float(-10 * np.log10(np.square((made.astype(np.float64) - truth) / 255).mean()))


def table(report: dict[str, dict[str, float]]) -> str:
    """The report as a Markdown table."""
    ways = list(report["clean"])
    lines = [f"| input | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[way]:.2f} dB' for way in ways)} |" for name, row in report.items()]
    return "\n".join(lines)


def sheet(model: Any, pairs: Pairs) -> Image.Image:
    """Rows of plain filter, network and truth; clean and decoded inputs take turns."""
    rows = [
        np.hstack([(made := enlarged(model, (pairs.decoded if k % 2 else pairs.clean)[k]))["lanczos"], made["starter-x2"], truth])
        for k, truth in enumerate(pairs.large)
    ]
    return Image.fromarray(np.vstack(rows))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.evaluate_upscaler", description=__doc__)
    parser.add_argument("--file", type=Path, default=BUNDLED)
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--sheet", type=Path, help="also write a picture to look at")
    options = parser.parse_args()
    model, _ = load_upscaler(options.file, torch.device("cpu"))
    pairs = make_pairs(options.scenes, seed=MEASURING_SEED)
    print(table(measure(model, pairs)))
    if options.sheet:
        sheet(model, Pairs(pairs.large[:6], pairs.clean[:6], pairs.decoded[:6])).save(options.sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())
