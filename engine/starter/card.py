"""The model card, written from what was measured: `python -m engine.starter.card`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from engine.starter.attributes import COLOURS, HELD_OUT_COLOURS, HELD_OUT_PLACES, PLACES, SUBJECTS, TIMES
from engine.starter.evaluate import table
from engine.starter.recipes import RECIPES

_CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# Easel starter

A latent diffusion model of our own, {megabytes:.1f} MB in fp16, trained from nothing on pictures that Easel's own code draws. It makes the
first picture on a machine without downloads, and every test and benchmark of the project runs on it.

## What it is

- Text encoder: `CLIPTextModel`, 3 layers of 256, 77 positions, byte-level vocabulary of its own. It learned to say back what a caption
  states ({text_steps} steps), then stayed frozen.
- Autoencoder: `AutoencoderTiny`, 8 × smaller, 8 channels. The encoder is a principal component analysis of 8 × 8 patches, held exactly; only
  the decoder is trained.
- Denoiser: `UNet2DConditionModel`, 15.0 million parameters, v-prediction, zero terminal SNR, trailing timesteps, averaged weights.

## What it was trained on

{scenes:,} scenes drawn by `engine/starter/scenes.py` (seed {seed}), each also mirrored, captioned anew each time by `engine/starter/captions.py`.
No photograph, no artist's work, nothing from the network. Subjects: {subjects}. Places: {places}. Times: {times}. Colours: {colours}.
Never drawn for training, so that the evaluation can ask for them: {kept_back}.

## How long

On two CPU cores (AVX512-BF16), other work beside it:

| stage | pictures seen | minutes | loss at the end |
|---|---|---|---|
{stages}

Remake it: `python -m engine.starter.train --recipe starter-v1`, then `python -m engine.starter.evaluate`. Every stage resumes from its
checkpoint; the bundled weights are the newest stage's average.

## What it can do

{prompts} prompts that state every attribute, {steps} steps of DPM++ 2M, guidance {guidance:g}, {size} × {size}, drawn by diffusers' own pipeline; judged by
a small CNN that was trained on drawn scenes only. "Drawn scenes" is the same judge on fresh drawings with the same labels. "Held-out pairs"
are the combinations above. Command: `python -m engine.starter.evaluate --prompts {prompts} --size {size}`.

{table}

{psnr}

## What it cannot do

It knows sixteen subjects in ten places and nothing else: no people, no animals but a bird, no writing, no photographs. Silhouettes are soft and
some subjects are mixed up (the table says how often); fine edges are blurred. Pictures other than {size} × {size} are weaker. It has seen one subject
a picture, never two. Words that it does not know are ignored.

Licence: Apache-2.0, weights and training data alike.
"""


def write_card(folder: Path, work: Path) -> None:
    """Write `folder/README.md` from `easel.json`, the evaluation and the training curve in `work`."""
    report: dict[str, Any] = json.loads((work / "evaluation.json").read_text(encoding="utf-8"))
    curve = [json.loads(line) for line in (work / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    recipe = RECIPES["starter-v1"]
    last = {line["size"]: line for line in curve}
    stages = "\n".join(
        f"| UNet at {size} px | {line['samples']:,} | {line['minutes']:.0f} | {line['loss']:.3f} |" for size, line in sorted(last.items())
    )
    kept_back = ", ".join(f"{colour} {subject}" for subject, colour in sorted(HELD_OUT_COLOURS))
    kept_back += "; " + ", ".join(f"{subject} with {place}" for subject, place in sorted(HELD_OUT_PLACES))
    weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    text = _CARD.format(
        megabytes=weights / 1e6, text_steps=recipe.text_steps, scenes=recipe.scenes, seed=recipe.seed, subjects=", ".join(SUBJECTS),
        places=", ".join(PLACES), times=", ".join(TIMES), colours=", ".join(COLOURS), kept_back=kept_back, stages=stages,
        prompts=report["prompts"], steps=report["steps"], guidance=report["guidance"], size=report["size"], table=table(report),
        psnr=f"The autoencoder keeps fresh scenes at {report['autoencoder_psnr']:.1f} dB PSNR, their subjects alone at {report['subject_psnr']:.1f} dB.",
    )  # fmt: skip
    (folder / "README.md").write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.card", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--work", type=Path, default=Path("data/starter-v1"))
    options = parser.parse_args()
    write_card(options.model, options.work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
