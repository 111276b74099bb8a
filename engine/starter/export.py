"""Checkpoints become a model folder in plain diffusers layout, fp16, that stock StableDiffusionPipeline loads."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers import CLIPTextModel, CLIPTokenizer

from engine.starter.autoencoder import BASIS_FILE, PatchBasis, build_autoencoder
from engine.starter.decoder import CURVE
from engine.starter.recipes import RECIPES
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
    # Before anything is written: weights in the checkout are a difference, too.
    commit = code_version()
    checkpoint = checkpoint or newest_checkpoint(work)
    saved = torch.load(checkpoint, weights_only=True)
    unet = build_unet()
    at = 0
    for parameter in unet.parameters():
        parameter.data.copy_(saved["average"][at : at + parameter.numel()].view(parameter.shape))
        at += parameter.numel()
    basis = PatchBasis.load(work / BASIS_FILE)
    for part in ("unet", "text_encoder", "tokenizer", "scheduler"):
        shutil.rmtree(out / part, ignore_errors=True)
    unet.half().save_pretrained(out / "unet", max_shard_size=SHARD)
    _write_autoencoder(work, out, basis)
    CLIPTextModel.from_pretrained(work / "text_encoder").half().save_pretrained(out / "text_encoder", max_shard_size=SHARD)
    CLIPTokenizer.from_pretrained(work / "tokenizer").save_pretrained(out / "tokenizer")
    scheduler: Any = DPMSolverMultistepScheduler.from_config(DDIMScheduler(**SCHEDULE).config)
    scheduler.save_pretrained(out / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline", "feature_extractor": [None, None], "image_encoder": [None, None], **_scorer_parts(out), "requires_safety_checker": False,
        "safety_checker": [None, None], "scheduler": ["diffusers", "DPMSolverMultistepScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderTiny"],
    }  # fmt: skip
    _write_json(out / "model_index.json", index)
    known = _read_json(out / "easel.json")
    # What was measured of the family and what the card says stay until they are measured and written anew.
    _write_json(out / "easel.json", {**known, **_FACTS, "preview": basis.preview(), "training": _runs(work, known, recipe, commit)})
    print(f"exported {checkpoint.name} after {saved['samples']} samples to {out}", flush=True)


def export_decoder(work: Path, out: Path, *, recipe: str) -> None:
    """Write the autoencoder alone to the model folder `out`: its latents are what they were, so everything else stays."""
    commit = code_version()
    _write_autoencoder(work, out, PatchBasis.load(work / BASIS_FILE))
    known = _read_json(out / "easel.json")
    line = json.loads((work / CURVE).read_text(encoding="utf-8").splitlines()[-1])
    plan = RECIPES[recipe].decoder
    if plan is None:
        raise ValueError(f"{recipe} trains no decoder")
    run = {"recipe": recipe, "commit": commit, "part": "decoder", "size": plan.crop, "samples": line["step"] * plan.batch}
    run |= {name: line[name] for name in ("minutes", "loss")}
    _write_json(out / "easel.json", {**known, "training": [one for one in known.get("training", []) if one["recipe"] != recipe] + [run]})
    print(f"exported the decoder after {run['samples']} crops to {out}", flush=True)


def _write_autoencoder(work: Path, out: Path, basis: PatchBasis) -> None:
    vae = AutoencoderTiny.from_pretrained(work / "vae") if (work / "vae" / "config.json").exists() else build_autoencoder(basis)
    shutil.rmtree(out / "vae", ignore_errors=True)
    vae.half().save_pretrained(out / "vae", max_shard_size=SHARD)
    _drop_unknown_setting(out / "vae" / "config.json")
    basis.save(out / "vae" / BASIS_FILE)


def _scorer_parts(out: Path) -> dict[str, Any]:
    """The entries of the image encoder and its pictures' preparation, which the scorer's training writes: they outlive a new denoiser."""
    return {name: entry for name, entry in _read_json(out / "model_index.json").items() if name in ("feature_extractor", "image_encoder")}


def code_version() -> str:
    """The commit that this code stands at, with a mark where files differ from it; empty outside a checkout."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return asked.stdout.strip()


def _runs(work: Path, facts: dict[str, Any], recipe: str, commit: str) -> list[dict[str, Any]]:
    """Every training run behind these weights, oldest first: those of earlier recipes as they stand, this one's from its curve."""
    known = facts.get("training", [])
    curve = [json.loads(line) for line in (work / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
    made_by = {"recipe": recipe, "commit": commit}
    last = {line["size"]: {**made_by, **{name: line[name] for name in ("size", "samples", "minutes", "loss")}} for line in curve}
    return [run for run in known if run["recipe"] != recipe] + [last[size] for size in sorted(last)]


def _drop_unknown_setting(path: Path) -> None:
    # AutoencoderTiny writes a setting that its own class then warns about at every load, and where it was read from.
    config = _read_json(path)
    for name in ("block_out_channels", "_name_or_path"):
        config.pop(name, None)
    _write_json(path, config)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
