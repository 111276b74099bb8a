"""Checkpoints become a model folder in plain diffusers layout, fp16, that stock StableDiffusionPipeline loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from engine.starter.autoencoder import BASIS_FILE, PatchBasis, build_autoencoder
from engine.starter.unet import SCHEDULE, build_unet

SHARD = "14MB"
_FACTS: dict[str, Any] = {
    "title": "Easel starter", "family": "sd1", "default_size": [256, 256], "sizes": [[256, 256], [320, 256], [256, 320], [384, 256], [256, 384], [192, 192]],
    "default_steps": 20, "default_guidance": 4.0, "default_scheduler": "dpmpp_2m", "licence": "Apache-2.0",
    "note": "A small model of our own, trained on scenes that Easel draws itself. It knows sixteen subjects in ten places.",
}  # fmt: skip


def newest_checkpoint(work: Path) -> Path:
    """The checkpoint of the largest size that has been trained. Raises FileNotFoundError with the command that makes one."""
    found = sorted(work.glob("unet-*.pt"), key=lambda path: int(path.stem.split("-")[1]))
    if not found:
        raise FileNotFoundError(f"There is no checkpoint in {work}; run python -m engine.starter.train first.")
    return found[-1]


def export(work: Path, out: Path, checkpoint: Path | None = None, *, recipe: str) -> None:
    """Write tokenizer, text encoder, averaged UNet, autoencoder, scheduler and easel.json to `out`."""
    checkpoint = checkpoint or newest_checkpoint(work)
    saved = torch.load(checkpoint, weights_only=True)
    unet = build_unet()
    at = 0
    for parameter in unet.parameters():
        parameter.data.copy_(saved["average"][at : at + parameter.numel()].view(parameter.shape))
        at += parameter.numel()
    basis = PatchBasis.load(work / BASIS_FILE)
    vae = AutoencoderTiny.from_pretrained(work / "vae") if (work / "vae" / "config.json").exists() else build_autoencoder(basis)
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        shutil.rmtree(out / part, ignore_errors=True)
    unet.half().save_pretrained(out / "unet", max_shard_size=SHARD)
    vae.half().save_pretrained(out / "vae", max_shard_size=SHARD)
    _drop_unknown_setting(out / "vae" / "config.json")
    basis.save(out / "vae" / BASIS_FILE)
    CLIPTextModel.from_pretrained(work / "text_encoder").half().save_pretrained(out / "text_encoder", max_shard_size=SHARD)
    CLIPTokenizer.from_pretrained(work / "tokenizer").save_pretrained(out / "tokenizer")
    scheduler: Any = DPMSolverMultistepScheduler.from_config(DDIMScheduler(**SCHEDULE).config)
    scheduler.save_pretrained(out / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline", "feature_extractor": [None, None], "image_encoder": [None, None], "requires_safety_checker": False,
        "safety_checker": [None, None], "scheduler": ["diffusers", "DPMSolverMultistepScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderTiny"],
    }  # fmt: skip
    _write_json(out / "model_index.json", index)
    _write_json(out / "easel.json", {**_FACTS, "preview": basis.preview(), "training": _runs(work, out / "easel.json", recipe)})
    print(f"exported {checkpoint.name} after {saved['samples']} samples to {out}", flush=True)


def _runs(work: Path, facts: Path, recipe: str) -> list[dict[str, Any]]:
    """Every training run behind these weights, oldest first: those of earlier recipes as they stand, this one's from its curve."""
    known = json.loads(facts.read_text(encoding="utf-8"))["training"] if facts.exists() else []
    curve = [json.loads(line) for line in (work / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    last = {line["size"]: {"recipe": recipe, **{name: line[name] for name in ("size", "samples", "minutes", "loss")}} for line in curve}
    return [run for run in known if run["recipe"] != recipe] + [last[size] for size in sorted(last)]


def _drop_unknown_setting(path: Path) -> None:
    # AutoencoderTiny writes a setting that its own class then warns about at every load, and where it was read from.
    config = json.loads(path.read_text(encoding="utf-8"))
    for name in ("block_out_channels", "_name_or_path"):
        config.pop(name, None)
    _write_json(path, config)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
