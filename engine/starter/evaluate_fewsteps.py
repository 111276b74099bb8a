"""Does the few-step LoRA earn its place? `python -m engine.starter.evaluate_fewsteps`. Against the base with as many model calls, and at 20 steps."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers.schedulers.scheduling_lcm import LCMScheduler

from engine.starter.attributes import random_labels
from engine.starter.evaluate import full_caption, generate_with
from engine.starter.figures import keep_figures
from engine.starter.grid import load_pipeline
from engine.starter.probe import accuracy, train_probe
from engine.starter.quality import features, frechet
from engine.starter.scenes import draw

FILE = Path("presets/loras/starter-fewsteps.safetensors")
_JUDGED = ("subject", "place", "time", "colour", "count", "position")


@dataclass(frozen=True)
class Way:
    """A guided step costs two model calls."""

    title: str
    steps: int
    guidance: float
    has_lora: bool

    @property
    def calls(self) -> int:
        return self.steps * (2 if self.guidance > 1 else 1)


WAYS = (
    *(Way("few-step LoRA, LCM", steps, 1.0, True) for steps in (4, 6, 8)),
    *(Way("base, DPM++ 2M", steps, 4.0, False) for steps in (2, 3, 4, 20)),
)


def evaluate(folder: Path, file: Path, work: Path, *, prompts: int, crowd: int, sheet: Path | None, seed: int = 78) -> dict[str, Any]:
    """Accuracy by attribute and Fréchet distance of each way, on the same prompts and noise."""
    probe = train_probe(work)
    rng = np.random.default_rng(seed)
    labels = [random_labels(rng, is_wide=True) for _ in range(prompts)]
    captions = [full_caption(one) for one in labels]
    fresh = features(probe, np.stack([draw(labels[k % prompts], seed=seed * 7_000_000 + k).image for k in range(crowd)]))
    drawn = features(probe, np.stack([draw(one, seed=seed * 9_000_000 + k).image for k, one in enumerate(labels)]))
    rows: list[dict[str, Any]] = []
    strips: list[Any] = []
    for way in WAYS:
        pipe = _pipeline(folder, file if way.has_lora else None)
        made = generate_with(pipe, captions, size=256, steps=way.steps, guidance=way.guidance, seed=seed)
        right = accuracy(probe, made, labels)
        rows.append({
            "title": way.title, "steps": way.steps, "calls": way.calls, **{name: round(right[name], 3) for name in _JUDGED},
            "mean": round(float(np.mean([right[name] for name in _JUDGED])), 3), "frechet": round(frechet(features(probe, made), fresh), 2),
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
        strips.append(np.hstack([cv2.resize(picture, (160, 160), interpolation=cv2.INTER_AREA) for picture in made[:10]]))
    if sheet is not None:
        cv2.imwrite(str(sheet), np.vstack(strips)[..., ::-1])
    return {"prompts": prompts, "crowd": crowd, "frechet_drawn": round(frechet(drawn, fresh), 2), "ways": rows}


def _pipeline(folder: Path, file: Path | None) -> Any:
    pipe: Any = load_pipeline(folder)
    if file is not None:
        pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name="fewsteps")
        pipe.unet.to(torch.bfloat16)
        pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    return pipe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.evaluate_fewsteps", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--file", type=Path, default=FILE)
    parser.add_argument("--work", type=Path, default=Path("data/starter-v2"), help="folder with the probe")
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--crowd", type=int, default=800, help="fresh scenes that the pictures are compared with as a crowd")
    parser.add_argument("--sheet", type=Path, default=None, help="a picture of the first ten, a row for each way")
    options = parser.parse_args()
    report = evaluate(options.model, options.file, options.work, prompts=options.prompts, crowd=options.crowd, sheet=options.sheet)
    keep_figures(options.model, "fewsteps", report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
