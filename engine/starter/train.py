"""From nothing to weights: `python -m engine.starter.train --recipe starter-v1`. Every stage resumes where it stopped."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from transformers import CLIPTokenizer

from engine.contract.errors import DamagedFile
from engine.starter.autoencoder import BASIS_FILE, PatchBasis, build_autoencoder, encode_dataset, fit_basis
from engine.starter.checkpoints import check_checkpoint
from engine.starter.dataset import SIZE, draw_dataset, draw_masks
from engine.starter.decoder import train_decoder
from engine.starter.recipes import RECIPES
from engine.starter.text_encoder import pretrain
from engine.starter.tokenizer import build_tokenizer
from engine.starter.unet import UnetPlan, train_unet
from engine.starter.walked import walk_scenes

STAGES = ("scenes", "text", "latents", "unet", "walked", "decoder", "export")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    options.work = options.work or Path("data") / options.recipe
    options.work.mkdir(parents=True, exist_ok=True)
    for stage in STAGES if options.stage == "all" else (options.stage,):
        print(f"== {stage}", flush=True)
        try:
            run_stage(stage, options.work, options.recipe, processes=options.processes, size=options.size, minutes=options.minutes, out=options.out)
        except DamagedFile as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def run_stage(stage: str, work: Path, name: str, *, processes: int, size: int | None, minutes: float | None, out: Path) -> None:
    """Run one stage of the recipe `name`; a stage whose result is there already is quick."""
    recipe = RECIPES[name]
    match stage:
        case "scenes":
            if recipe.starts_from_bundle:
                take_over(out, work)
            draw_dataset(work, count=recipe.scenes, seed=recipe.seed, is_wide=recipe.is_wide)
        case "text":
            if not recipe.text_steps:
                shutil.copytree(out / "text_encoder", work / "text_encoder", dirs_exist_ok=True)
            elif not (work / "text_encoder" / "config.json").exists():
                before = out / "text_encoder" if recipe.starts_from_bundle else None
                tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer") if before else build_tokenizer(work / "tokenizer")
                pretrain(tokenizer, work / "text_encoder", steps=recipe.text_steps, start_from=before, is_wide=recipe.is_wide)
        case "latents":
            make_latents(work, sizes=[plan.size for plan in recipe.unet])
        case "unet":
            if any(plan.subject_weight for plan in recipe.unet):
                draw_masks(work, seed=recipe.seed, is_wide=recipe.is_wide)
            for number, plan in enumerate(recipe.unet):
                if size in (None, plan.size):
                    first = out / "unet" if recipe.starts_from_bundle else None
                    before = work / f"unet-{recipe.unet[number - 1].size}.pt" if number else first
                    launch_unet(work, plan if minutes is None else replace(plan, minutes=minutes), before, processes)
        case "walked" if recipe.walked:
            walk_scenes(out, work, count=recipe.walked, seed=recipe.seed + 1)
        case "decoder" if recipe.decoder:
            draw_masks(work, seed=recipe.seed, is_wide=recipe.is_wide)
            plan = recipe.decoder if minutes is None else replace(recipe.decoder, minutes=minutes)
            is_begun = recipe.starts_from_bundle
            vae = (
                AutoencoderTiny.from_pretrained(work / "vae", torch_dtype=torch.float32)
                if is_begun
                else build_autoencoder(PatchBasis.load(work / BASIS_FILE))
            )
            train_decoder(vae, work, plan).save_pretrained(work / "vae")
        case "export":
            from engine.starter.export import export, export_decoder
            from engine.starter.grid import draw_grid

            (export if recipe.unet else export_decoder)(work, out, recipe=name)
            draw_grid(out, size=recipe.unet[-1].size if recipe.unet else SIZE).save(work / "grid.jpg", quality=88)
            print(f"look at {work / 'grid.jpg'}", flush=True)
        case _:
            pass


def take_over(bundle: Path, work: Path) -> None:
    """What stays as it is when training goes on from a finished model: its words, its patches, its decoder."""
    for name in ("tokenizer", "vae"):
        shutil.copytree(bundle / name, work / name, dirs_exist_ok=True)
    shutil.copy(bundle / "vae" / BASIS_FILE, work / BASIS_FILE)


def make_latents(work: Path, *, sizes: list[int]) -> None:
    """The patch basis from a sample of the pictures, then latents of all of them at each size."""
    images = np.load(work / "scenes.npy", mmap_mode="r")
    if not (work / BASIS_FILE).exists():
        sample = np.asarray(images[:: max(1, len(images) // 800)])
        fit_basis(np.concatenate([sample[:, ::2, ::2], sample[:, 1::2, 1::2]])).save(work / BASIS_FILE)
    basis = PatchBasis.load(work / BASIS_FILE)
    for size in sizes:
        if not (target := work / f"latents-{size}.npy").exists():
            encode_dataset(images, basis, target, size=size)


def launch_unet(work: Path, plan: UnetPlan, before: Path | None, processes: int) -> None:
    """One process with one thread each: on a busy machine far quicker than one process with many threads."""
    check_checkpoint(work / f"unet-{plan.size}.pt")
    if processes == 1:
        train_unet(work, plan, start_from=before, device="cuda" if torch.cuda.is_available() else "cpu")
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(_unet_process, args=(processes, port, work, plan, before), nprocs=processes)


def _unet_process(rank: int, world: int, port: int, work: Path, plan: UnetPlan, before: Path | None) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world)
    try:
        train_unet(work, plan, start_from=before, rank=rank, world=world)
    finally:
        dist.destroy_process_group()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.train", description=__doc__)
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="starter-v1")
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    parser.add_argument("--work", type=Path, default=None, help="folder for pictures, latents and checkpoints; data/<recipe>")
    parser.add_argument("--out", type=Path, default=Path("presets/models/starter"), help="folder of the finished model")
    parser.add_argument("--size", type=int, help="only the UNet stage of this size")
    parser.add_argument("--minutes", type=float, help="minutes for the chosen stage instead of the recipe's")
    parser.add_argument("--processes", type=int, default=1 if torch.cuda.is_available() else os.cpu_count() or 1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
