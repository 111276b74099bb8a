"""Does a reference picture lead? `python -m engine.starter.evaluate_reference`. By diffusers' own pipeline, at weight 0, at the usual one and at 1."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.contract.references import REFERENCE_WEIGHT
from engine.starter.attributes import SUBJECTS, SceneLabels, random_labels
from engine.starter.figures import keep_figures
from engine.starter.grid import load_pipeline
from engine.starter.probe import Probe, to_input, train_probe
from engine.starter.reference import picture_embeds
from engine.starter.scenes import draw
from engine.starter.text_encoder import ATTRIBUTES
from engine.starter.views import reduced

FILE = Path("presets/ip_adapters/starter.safetensors")
_SCALES = (0.0, REFERENCE_WEIGHT, 1.0)
_ADOPTED = ("subject", "place", "time", "colour")


def evaluate(folder: Path, file: Path, work: Path, *, count: int, sheet: Path | None, seed: int = 13) -> dict[str, Any]:
    """What pictures take over from their references: without words, and with words for another subject."""
    probe = train_probe(work)
    rng = np.random.default_rng(seed)
    labels = [random_labels(rng) for _ in range(count)]
    references = np.stack([draw(one, seed=seed * 3_000_000 + k).image for k, one in enumerate(labels)])
    others = [_another(one.subject, rng) for one in labels]
    pipe = load_with_adapter(folder, file)
    embeds = picture_embeds(folder, np.stack([reduced(one) for one in references]))
    report: dict[str, Any] = {"pictures": count, "bytes": file.stat().st_size, "alone": [], "mixed": []}
    strips: list[Any] = [references]
    for name, prompts in {"alone": [""] * count, "mixed": [f"a {other}" for other in others]}.items():
        for scale in _SCALES:
            made = led(pipe, prompts, embeds, scale=scale, seed=seed)
            strips.append(made)
            row = {"scale": scale, **_shares(probe, made, labels), "palette": round(palette_distance(made, references), 3)}
            row["asked_subject"] = round(float(np.mean([a == b for a, b in zip(_seen(probe, made)["subject"], others, strict=True)])), 3)
            report[name].append(row)
            print(json.dumps({"words": name, **row}), flush=True)
    if sheet is not None:
        rows = [np.hstack([cv2.resize(one, (160, 160), interpolation=cv2.INTER_AREA) for one in strip[:10]]) for strip in strips]
        cv2.imwrite(str(sheet), np.vstack(rows)[..., ::-1])
    return report


def load_with_adapter(folder: Path, file: Path) -> Any:
    """The stock pipeline with the adapter in it."""
    pipe: Any = load_pipeline(folder)
    pipe.load_ip_adapter(str(file.parent.resolve()), subfolder="", weight_name=file.name, local_files_only=True)
    pipe.unet.to(torch.bfloat16)
    return pipe


def led(pipe: Any, prompts: list[str], embeds: torch.Tensor, *, scale: float, seed: int, steps: int = 20) -> NDArray[np.uint8]:
    """(N, 256, 256, 3): one picture for each prompt and each of the embeddings (N, D), one seed each."""
    pipe.set_ip_adapter_scale(scale)
    made: list[NDArray[np.uint8]] = []
    # One at a time: diffusers repeats the embeddings of a batch for every picture of it, so all would follow a mixture of all.
    for number, (prompt, embed) in enumerate(zip(prompts, embeds.to(torch.bfloat16), strict=True)):
        images = pipe(
            prompt, height=256, width=256, num_inference_steps=steps, guidance_scale=4.0, generator=torch.Generator("cpu").manual_seed(seed + number),
            ip_adapter_image_embeds=[torch.stack([torch.zeros_like(embed), embed])[:, None]], output_type="np",
        ).images  # fmt: skip
        made.append(np.rint(images * 255).astype(np.uint8))
    return np.concatenate(made)


def palette_distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean distance, 0 to 1 per channel, of 4 × 4 mean colours of (N, H, W, 3) pictures."""
    small = [np.stack([cv2.resize(one, (4, 4), interpolation=cv2.INTER_AREA) for one in some]).astype(np.float32) / 255 for some in (a, b)]
    return float(np.abs(small[0] - small[1]).mean())


def _shares(probe: Probe, made: NDArray[np.uint8], labels: list[SceneLabels]) -> dict[str, float]:
    seen = _seen(probe, made)
    return {name: round(float(np.mean([a == getattr(b, name) for a, b in zip(seen[name], labels, strict=True)])), 3) for name in _ADOPTED}


def _seen(probe: Probe, images: NDArray[np.uint8]) -> dict[str, list[str]]:
    with torch.no_grad():
        answers = probe(to_input(images))
    return {name: [ATTRIBUTES[name][at] for at in answers[name].argmax(1)] for name in _ADOPTED}


def _another(subject: str, rng: np.random.Generator) -> str:
    others = [one for one in SUBJECTS if one != subject]
    return others[int(rng.integers(len(others)))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.evaluate_reference", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--file", type=Path, default=FILE)
    parser.add_argument("--work", type=Path, default=Path("data/starter-v2"), help="folder with the probe")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--sheet", type=Path, default=None, help="a picture of ten references and what they led to")
    options = parser.parse_args()
    report = evaluate(options.model, options.file, options.work, count=options.count, sheet=options.sheet)
    keep_figures(options.model, "reference", report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
