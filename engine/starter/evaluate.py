"""Does the model do what the words say? `python -m engine.starter.evaluate`. Pictures by stock diffusers, judged by the probe."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.starter.attributes import SceneLabels, is_held_out, random_labels
from engine.starter.autoencoder import psnr
from engine.starter.captions import HELD_OUT_PHRASINGS, SYNONYMS, plural
from engine.starter.grid import load_pipeline
from engine.starter.probe import Probe, accuracy, train_probe
from engine.starter.quality import copies, crowd_distance
from engine.starter.scenes import draw
from engine.starter.text_encoder import ATTRIBUTES


def full_caption(labels: SceneLabels, phrasing: str | None = None) -> str:
    """A plain sentence that states every attribute, in words of the vocabulary; in another build where a phrasing is given."""
    said = {name: SYNONYMS[getattr(labels, name)][0] for name in ATTRIBUTES}
    weather = "" if labels.weather == "clear" else f", {said['weather']}"
    distance = "" if labels.distance == "near" else f", {said['distance']}"
    what = f"a {said['colour']} {said['subject']}" if labels.count == "one" else f"{said['count']} {said['colour']} {plural(said['subject'])}"
    if phrasing is not None:
        return phrasing.format(**{**said, "what": what, "weather": weather, "distance": distance})
    return f"{what} {said['place']} {said['time']}, {said['position']}{distance}{weather}, {said['style']}"


def generate(folder: Path, captions: list[str], *, size: int, steps: int, guidance: float, seed: int, batch: int = 8) -> NDArray[np.uint8]:
    """(N, size, size, 3) pictures of the captions, one seed each."""
    return generate_with(load_pipeline(folder), captions, size=size, steps=steps, guidance=guidance, seed=seed, batch=batch)


def generate_with(pipe: Any, captions: list[str], *, size: int, steps: int, guidance: float, seed: int, batch: int = 8) -> NDArray[np.uint8]:
    """The same with a stock pipeline that is there already."""
    made: list[NDArray[np.uint8]] = []
    started = time.monotonic()
    for start in range(0, len(captions), batch):
        block = captions[start : start + batch]
        rng = [torch.Generator("cpu").manual_seed(seed + start + k) for k in range(len(block))]
        images = pipe(
            block,
            height=size,
            width=size,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=rng,
            output_type="np",
        ).images
        made.append(np.rint(images * 255).astype(np.uint8))
        print(f"generated {start + len(block)}/{len(captions)} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return np.concatenate(made)


def evaluate(folder: Path, work: Path, *, prompts: int, size: int, steps: int, guidance: float, seed: int = 77) -> dict[str, Any]:
    """Accuracy by attribute of generated and of freshly drawn pictures for the same labels, with chance beside them."""
    probe = train_probe(work)
    rng = np.random.default_rng(seed)
    ordinary = [random_labels(rng, is_wide=True) for _ in range(prompts)]
    kept_back = [random_labels(rng, held_out=True, is_wide=True) for _ in range(prompts // 4)]
    assert all(is_held_out(one) for one in kept_back)
    reworded = [random_labels(rng, is_wide=True) for _ in range(prompts // 4)]
    captions = [full_caption(one) for one in ordinary + kept_back]
    captions += [full_caption(one, HELD_OUT_PHRASINGS[k % len(HELD_OUT_PHRASINGS)]) for k, one in enumerate(reworded)]
    made = generate(folder, captions, size=size, steps=steps, guidance=guidance, seed=seed)
    ends = (prompts, prompts + len(kept_back))
    report: dict[str, Any] = {"model": folder.name, "prompts": prompts, "size": size, "steps": steps, "guidance": guidance}
    report["ordinary"] = _compare(probe, made[:prompts], ordinary, seed)
    report.update(autoencoder_quality(folder, ordinary[:64], seed))
    report["held_out_pairs"] = _compare(probe, made[ends[0] : ends[1]], kept_back, seed + 1)
    report["held_out_wordings"] = _compare(probe, made[ends[1] :], reworded, seed + 2)
    report["frechet"] = crowd_distance(probe, made[:prompts], ordinary, seed=seed)
    training = np.load(work / "scenes.npy", mmap_mode="r")
    report["copies"] = copies(made[: min(256, prompts)], ordinary[:256], training, seed=seed)
    return report


def autoencoder_quality(folder: Path, labels: list[SceneLabels], seed: int) -> dict[str, float]:
    """Mean PSNR in dB of fresh scenes through the autoencoder: of whole pictures, and of the pixels of the subject alone."""
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    vae: Any = AutoencoderTiny.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    scenes = [draw(one, seed=seed * 1000 + number) for number, one in enumerate(labels)]
    images, masks = np.stack([scene.image for scene in scenes]), np.stack([scene.mask for scene in scenes])
    return {"autoencoder_psnr": psnr(vae, images), "subject_psnr": psnr(vae, images, masks)}


def _compare(probe: Probe, made: NDArray[np.uint8], labels: list[SceneLabels], seed: int) -> dict[str, dict[str, float]]:
    real = np.stack([draw(one, seed=seed * 100_000 + k).image for k, one in enumerate(labels)])
    generated, drawn = accuracy(probe, made, labels), accuracy(probe, real, labels)
    return {
        name: {
            "generated": round(generated[name], 3),
            "drawn": round(drawn[name], 3),
            "share": round(generated[name] / max(drawn[name], 1e-9), 3),
            "chance": round(1 / len(values), 3),
        }
        for name, values in ATTRIBUTES.items()
    }


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    lines = ["| attribute | generated | drawn scenes | share | chance | held-out pairs | held-out wordings |", "|---|---|---|---|---|---|---|"]
    for name, row in report["ordinary"].items():
        lines.append(
            f"| {name} | {row['generated']:.2f} | {row['drawn']:.2f} | {row['share']:.0%} | {row['chance']:.2f} | {report['held_out_pairs'][name]['generated']:.2f} "
            f"| {report['held_out_wordings'][name]['generated']:.2f} |"
        )
    return "\n".join(lines)


def crowd(report: dict[str, Any]) -> str:
    """Fréchet distance and the check for copies, in two sentences."""
    distance, copied = report["frechet"], report["copies"]
    return (
        f"Fréchet distance on the judge's features against 2 000 fresh scenes: {distance['generated']:.2f}; drawn scenes themselves {distance['drawn']:.2f}. "
        f"Nearest of {copied['training_scenes']:,} training scenes (24 × 24, 8-bit levels): generated {copied['generated']['least']:.1f} at least and "
        f"{copied['generated']['median']:.1f} in the middle; fresh drawings {copied['drawn']['least']:.1f} and {copied['drawn']['median']:.1f}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--work", type=Path, default=Path("data/starter-v2"), help="folder with the drawn scenes and the probe")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=4.0)
    options = parser.parse_args()
    report = evaluate(options.model, options.work, prompts=options.prompts, size=options.size, steps=options.steps, guidance=options.guidance)
    (options.work / "evaluation.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(table(report), crowd(report), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
