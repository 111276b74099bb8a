"""The model card, written from what was measured: `python -m engine.starter.card`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from engine.starter.about import LIMITS, about_lines, keep_about, stage_of
from engine.starter.attributes import COLOURS, HELD_OUT_COLOURS, HELD_OUT_PLACES, PLACES, SUBJECTS, TIMES
from engine.starter.evaluate import crowd, table
from engine.starter.evaluate_control import REPORT
from engine.starter.evaluate_control import table as control_table
from engine.starter.family_card import family_section
from engine.starter.figures import figures_of
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
  states, then stayed frozen.
- Autoencoder: `AutoencoderTiny`, 8 × smaller, 8 channels. The encoder is a principal component analysis of 8 × 8 patches, held exactly; only
  the decoder is trained.
- Denoiser: `UNet2DConditionModel`, 15.0 million parameters, v-prediction, zero terminal SNR, trailing timesteps, averaged weights.

## What it was trained on

Scenes drawn by `engine/starter/scenes.py`, each also mirrored and captioned anew each time by `engine/starter/captions.py`.
No photograph, no artist's work, nothing from the network. Subjects: {subjects}. Places: {places}. Times: {times}. Colours: {colours}.
One to three of a kind, near or far, left, in the middle or right. Never drawn for training, so that the evaluation can ask for them:
{kept_back}.

## How long

On two CPU cores (AVX512-BF16), other work beside it:

| recipe | scenes | seed | code at commit | stage | pictures seen | minutes | loss at the end |
|---|---|---|---|---|---|---|---|
{stages}

Remake it: `make train ARGS="--recipe starter-v1"`, then `starter-v2` to `starter-v4`, which go on from there: the first two taught the denoiser
(with AdamW, at the commits above; the code has Muon since), the third the decoder, with more weight on subjects, half of it on drawn scenes that the
denoiser noised and walked back (`engine/starter/walked.py`), the fourth the denoiser again, with Muon and three times the weight on subjects: on
256 fresh scenes its loss fell from 0.223 to 0.212, on their subjects alone from 0.637 to 0.566. Controls, styles, the reference adapter and few
steps were taught on the second's denoiser and measured on this one.
Latents are the same for all of them. Nine more blocks in that decoder learned next to nothing in 45 minutes and were taken out again: what is lost is
not in eight channels. Every stage resumes from its checkpoint; the bundled weights are averages.

## What it can do

{prompts} prompts that state every attribute, {steps} steps of DPM++ 2M, guidance {guidance:g}, {size} × {size}, drawn by diffusers' own pipeline; judged by
a small CNN that was trained on drawn scenes only. "Drawn scenes" is the same judge on fresh drawings with the same labels. "Held-out pairs"
are the combinations above; "held-out wordings" are sentences of a build that training never had. Command: `python -m engine.starter.evaluate --prompts {prompts} --size {size}`.

{table}

{crowd}

{psnr}
{controls}
{family}## What it cannot do

{limits}

Licence: Apache-2.0, weights and training data alike.
"""

_CONTROLS = """
## Its controls

Low-rank ControlNets in `presets/controlnets`, trained on the same scenes with the denoiser frozen (`python -m engine.starter.control`), {scenes} fresh
scenes each: words that say what is in the picture and nothing about where, the same seeds with the control and without. Depth is judged by an estimator of our own
(`presets/preprocessors`, `python -m engine.starter.depth`). Command: `python -m engine.starter.evaluate_control`.

{table}
"""


def write_card(folder: Path, work: Path) -> None:
    """Write `folder/README.md` from the evaluation in `work` and every training run that `easel.json` tells of."""
    report: dict[str, Any] = json.loads((work / "evaluation.json").read_text(encoding="utf-8"))
    facts: dict[str, Any] = json.loads((folder / "easel.json").read_text(encoding="utf-8"))
    stages = "\n".join(_row(run) for run in facts["training"])
    kept_back = ", ".join(f"{colour} {subject}" for subject, colour in sorted(HELD_OUT_COLOURS))
    kept_back += "; " + ", ".join(f"{subject} with {place}" for subject, place in sorted(HELD_OUT_PLACES))
    weights = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    family = family_section(figures_of(folder))
    text = _CARD.format(
        megabytes=weights / 1e6, family=f"{family}\n\n" if family else "", subjects=", ".join(SUBJECTS), crowd=crowd(report),
        places=", ".join(PLACES), times=", ".join(TIMES), colours=", ".join(COLOURS), kept_back=kept_back, stages=stages,
        prompts=report["prompts"], steps=report["steps"], guidance=report["guidance"], size=report["size"], table=table(report),
        controls=_controls(work), limits=LIMITS,
        psnr=f"The autoencoder keeps fresh scenes at {report['autoencoder_psnr']:.1f} dB PSNR, their subjects alone at {report['subject_psnr']:.1f} dB.",
    )  # fmt: skip
    (folder / "README.md").write_text(text, encoding="utf-8")
    keep_about(folder, about_lines(facts["training"], report))


def _controls(work: Path) -> str:
    """What `presets/controlnets` was measured to do, where it was."""
    path = work / REPORT
    if not path.exists():
        return ""
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return _CONTROLS.format(scenes=report["scenes"], table=control_table(report))


def _row(run: dict[str, Any]) -> str:
    recipe = RECIPES[run["recipe"]]
    return f"| {run['recipe']} | {recipe.scenes:,} | {recipe.seed} | {run['commit']} | {stage_of(run)} | {run['samples']:,} | {run['minutes']:.0f} | {run['loss']:.3f} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.card", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--work", type=Path, default=Path("data/starter-v2"))
    options = parser.parse_args()
    write_card(options.model, options.work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
