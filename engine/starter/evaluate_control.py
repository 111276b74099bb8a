"""Do the controls lead? `python -m engine.starter.evaluate_control`. Fresh scenes' maps, pictures by stock diffusers, with the control and without."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers.pipelines.controlnet.pipeline_controlnet import StableDiffusionControlNetPipeline
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from engine.diffusion.control_lora import expand_control
from engine.diffusion.tiny_depth import estimate_depth, load_tiny_depth
from engine.starter.attributes import SceneLabels, random_labels
from engine.starter.control_maps import Map, depth_map, edge_map
from engine.starter.depth import correlation
from engine.starter.evaluate import full_caption
from engine.starter.grid import load_pipeline
from engine.starter.scenes import draw

BUNDLED = Path(__file__).resolve().parents[2] / "presets" / "controlnets"
KINDS = ("edges", "depth")
REPORT = "controls.json"
# Scenes of this seed are never learned from.
MEASURING_SEED = 20261125
_TOLERANCE = 2
_BATCH = 8

Pictures = NDArray[np.uint8]


@dataclass(frozen=True)
class FreshScenes:
    """Drawn pictures (N, 256, 256, 3), their maps (N, 256, 256) by kind of control, and what is in them."""

    pictures: Pictures
    maps: dict[str, Pictures]
    labels: list[SceneLabels]

    @property
    def captions(self) -> list[str]:
        """What is in them, and nothing about where: that is for the map to say."""
        return [full_caption(one, "{what} {place} {time}, {style}") for one in self.labels]


def fresh_scenes(count: int, seed: int = MEASURING_SEED) -> FreshScenes:
    labels: list[SceneLabels] = []
    pictures: list[Pictures] = []
    depths: list[Map] = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        labels.append(random_labels(rng, is_wide=True))
        scene = draw(labels[-1], seed=int(rng.integers(2**31)))
        pictures.append(scene.image)
        depths.append(depth_map(scene.depth))
    return FreshScenes(np.stack(pictures), {"edges": np.stack([edge_map(one) for one in pictures]), "depth": np.stack(depths)}, labels)


def read_control(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and the words of the header."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def draw_with(folder: Path, captions: list[str], maps: Pictures, control: Path | None, *, steps: int = 20, guidance: float = 4.0, seed: int = 31) -> Pictures:  # fmt: skip
    """(N, 256, 256, 3) pictures of the captions, one seed each, led by (N, 256, 256) maps where a control is given."""
    pipe: Any = load_pipeline(folder)
    if control is not None:
        parts: dict[str, Any] = {**pipe.components, "controlnet": expand_control(*read_control(control), pipe.unet)}
        pipe = StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
    made: list[Pictures] = []
    started = time.monotonic()
    for start in range(0, len(captions), _BATCH):
        block, shown = captions[start : start + _BATCH], torch.from_numpy(maps[start : start + _BATCH].astype(np.float32) / 255)
        words: dict[str, Any] = {} if control is None else {"image": shown[:, None].repeat(1, 3, 1, 1)}
        rng = [torch.Generator().manual_seed(seed + start + k) for k in range(len(block))]
        size = {"height": maps.shape[1], "width": maps.shape[2], "num_inference_steps": steps, "guidance_scale": guidance}
        images = pipe(block, generator=rng, output_type="np", **size, **words).images
        made.append(np.rint(images * 255).astype(np.uint8))
        print(f"{control.stem if control else 'without'}: {start + len(block)}/{len(captions)} in {time.monotonic() - started:.0f} s", flush=True)
    return np.concatenate(made)


def edge_f1(picture: Pictures, wanted: Map) -> float:
    """Share of found lines that were wanted and of wanted lines that were found, within two pixels: their harmonic mean."""
    found = edge_map(picture)
    near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _TOLERANCE + 1,) * 2)
    precision, recall = (float((cv2.dilate(b, near)[a > 0] > 0).mean()) if a.any() else 0.0 for a, b in ((found, wanted), (wanted, found)))
    return 2 * precision * recall / max(precision + recall, 1e-9)


class DepthJudge:
    """Correlation of a picture's estimated depth with a map, both less the average scene: ground rises to the horizon in every picture."""

    def __init__(self) -> None:
        self._estimator = load_tiny_depth()
        self._average = fresh_scenes(32, seed=MEASURING_SEED + 1).maps["depth"].mean(0)

    def __call__(self, picture: Pictures, wanted: Map) -> float:
        return correlation(estimate_depth(self._estimator, picture) - self._average, wanted - self._average)


def through_autoencoder(folder: Path, pictures: Pictures) -> Pictures:
    """The best that a picture made from latents could be."""
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    from engine.diffusion.images import to_pixels, to_rgb

    vae: Any = AutoencoderTiny.from_pretrained(folder / "vae", torch_dtype=torch.float32, local_files_only=True).eval()
    with torch.inference_mode():
        return np.stack([to_rgb(vae.decoder(vae.encoder(to_pixels(one)))[0]) for one in pictures])


def evaluate(folder: Path, controls: Path, *, count: int, kinds: tuple[str, ...] = KINDS, sheet: Path | None = None) -> dict[str, Any]:
    """By kind: mean agreement with the maps of pictures with the control, without, and of the scenes themselves."""
    scenes = fresh_scenes(count)
    judges: dict[str, Any] = {"edges": edge_f1, "depth": DepthJudge()}
    best = through_autoencoder(folder, scenes.pictures)
    plain = draw_with(folder, scenes.captions, scenes.maps["edges"], None)
    report: dict[str, Any] = {"scenes": count, "steps": 20, "guidance": 4.0}
    for kind in kinds:
        maps, path = scenes.maps[kind], controls / f"starter-{kind}.safetensors"
        led = draw_with(folder, scenes.captions, maps, path)
        crowds = {"with": led, "without": plain, "ceiling": best}
        found = {name: [judges[kind](a, b) for a, b in zip(crowd, maps, strict=True)] for name, crowd in crowds.items()}
        report[kind] = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
        report[kind] |= {"better_in": int(sum(a > b for a, b in zip(found["with"], found["without"], strict=True)))}
        report[kind] |= {"kilobytes": path.stat().st_size // 1000, "training": read_control(path)[1].get("easel.training", "")}
        if sheet is not None:
            contact_sheet(maps[:12], plain[:12], led[:12]).save(sheet.with_stem(f"{sheet.stem}-{kind}"))
    return report


def contact_sheet(maps: Pictures, plain: Pictures, led: Pictures) -> Image.Image:
    """Rows of map, picture without and picture with the control; two scenes to a row."""
    strips = [np.hstack([np.repeat(one[..., None], 3, axis=2), a, b]) for one, a, b in zip(maps, plain, led, strict=True)]
    return Image.fromarray(np.vstack([np.hstack(strips[at : at + 2]) for at in range(0, len(strips) - len(strips) % 2, 2)]))


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown table."""
    measures = {"edges": "edge F1, Canny 100/200, 2 px", "depth": "correlation of estimated depth, less the average scene"}
    lines = ["| control | measure | without | with | drawn scenes through the autoencoder | better in | file | training |", "|---" * 8 + "|"]
    for kind in KINDS:
        if (row := report.get(kind)) is not None:
            figures = " | ".join(f"{row[name]:.2f}" for name in ("without", "with", "ceiling"))
            better = f"{row['better_in']} of {report['scenes']}"
            lines.append(f"| {kind} | {measures[kind]} | {figures} | {better} | {row['kilobytes'] / 1000:.1f} MB | {row['training']} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.evaluate_control", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("presets/models/starter"))
    parser.add_argument("--controls", type=Path, default=BUNDLED)
    parser.add_argument("--work", type=Path, default=Path("data/starter-v2"), help="folder for the report, where the card finds it")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--kind", choices=KINDS, help="only this control")
    parser.add_argument("--sheet", type=Path, help="also write pictures to look at, one for each control")
    options = parser.parse_args()
    kinds = KINDS if options.kind is None else (options.kind,)
    report = evaluate(options.model, options.controls, count=options.scenes, kinds=kinds, sheet=options.sheet)
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / REPORT
    # Controls measured one after the other end up in one report.
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = before if before.get("scenes") == options.scenes else {}
    path.write_text(json.dumps({**kept, **report}, indent=1), encoding="utf-8")
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
