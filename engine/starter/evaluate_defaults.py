"""Which sampler, steps and guidance suit the starter? `python -m engine.starter.evaluate_defaults`. One of the three varies at a time, by the judge and by the crowd."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from engine.contract.schedulers import SchedulerName
from engine.diffusion.schedulers import build_scheduler
from engine.starter.attributes import random_labels
from engine.starter.evaluate import full_caption, generate_with
from engine.starter.figures import keep_figures
from engine.starter.grid import load_pipeline
from engine.starter.probe import accuracy, train_probe
from engine.starter.quality import features, frechet
from engine.starter.scenes import draw

_JUDGED = ("subject", "place", "time", "colour", "count", "position")


@dataclass(frozen=True)
class Way:
    sampler: SchedulerName = "dpmpp_2m"
    steps: int = 20
    guidance: float = 4.0


DEFAULT = Way()
_SAMPLERS: tuple[SchedulerName, ...] = ("dpmpp_2m", "unipc", "deis", "euler", "ddim", "heun", "euler_a")
WAYS = tuple(
    dict.fromkeys(
        [
            *(replace(DEFAULT, sampler=name) for name in _SAMPLERS),
            *(replace(DEFAULT, steps=steps) for steps in (8, 12, 16, 20, 30)),
            *(replace(DEFAULT, guidance=guidance) for guidance in (1.5, 2.5, 3.0, 4.0, 5.0, 7.0)),
        ]
    )
)


def evaluate(folder: Path, work: Path, *, prompts: int, crowd: int, seed: int = 79) -> dict[str, Any]:
    """Mean accuracy over six attributes and Fréchet distance of each way, on the same prompts and noise; the crowd is of fresh scenes."""
    probe = train_probe(work)
    rng = np.random.default_rng(seed)
    labels = [random_labels(rng, is_wide=True) for _ in range(prompts)]
    captions = [full_caption(one) for one in labels]
    fresh = features(probe, np.stack([draw(labels[k % prompts], seed=seed * 7_000_000 + k).image for k in range(crowd)]))
    pipe: Any = load_pipeline(folder)
    config = dict(pipe.scheduler.config)
    rows: list[dict[str, Any]] = []
    for way in WAYS:
        pipe.scheduler = build_scheduler(way.sampler, config)
        start = time.monotonic()
        made = generate_with(pipe, captions, size=256, steps=way.steps, guidance=way.guidance, seed=seed)
        right = accuracy(probe, made, labels)
        rows.append({
            "sampler": way.sampler, "steps": way.steps, "guidance": way.guidance, "mean": round(float(np.mean([right[name] for name in _JUDGED])), 3),
            "frechet": round(frechet(features(probe, made), fresh), 2), "seconds": round((time.monotonic() - start) / prompts, 2),
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return {"prompts": prompts, "crowd": crowd, "ways": rows}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.evaluate_defaults", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--work", type=Path, default=Path("data/starter-v2"), help="folder with the probe")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--crowd", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_figures(options.model, "defaults", evaluate(options.model, options.work, prompts=options.prompts, crowd=options.crowd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
