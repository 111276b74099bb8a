"""Flags to a wish. What flags mean together is judged here, in their own words; what a value may be, by the contract."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from engine import Axis, InvalidRequest, parse_axis
from engine.terminal.controls import read_unit
from engine.terminal.guidance import add_guidance_flags, read_guidance


class Flag(NamedTuple):
    """One control of the page as a flag. `needs` are flags of which one has to be there too."""

    name: str
    field: str
    help: str
    needs: tuple[str, ...] = ()


_REPAINTING = ("--mask", "--outpaint")
FLAGS = (
    Flag("--negative", "negative_prompt", "what you do not want to see"),
    Flag("--steps", "steps", "denoising steps"),
    Flag("--guidance", "guidance_scale", "how literally the words are taken"),
    Flag("--guidance-style", "guidance_style", "cfg, cfg_zero_star, apg, tangential, pag or seg: how the words lead"),
    Flag("--guidance-rescale", "guidance_rescale", "0 to 1: takes back the contrast that guidance adds"),
    Flag("--perturbation", "perturbed_scale", "scale of the styles pag and seg", ("--guidance-style",)),
    Flag("--score-target", "score_target", "what a score looks for: words; or castle | tower, ship", ("--clip-guidance", "--classifier-guidance")),
    Flag("--sampler", "scheduler", "how the noise is removed"),
    Flag("--schedule", "schedule", "normal, karras, exponential, beta or trailing: how the steps are spread over the noise"),
    Flag("--seed", "seed", "the same seed gives the same picture"),
    Flag("--width", "width", "pixels, in steps of 8; drawn at once where there is a mask or an enlargement"),
    Flag("--height", "height", "pixels, in steps of 8"),
    Flag("--count", "count", "pictures, each with a seed of its own"),
    Flag("--model", "model", "name of the model"),
    Flag("--variation-strength", "variation_strength", "0 to 1: how far to turn towards another picture of the same words"),
    Flag("--variation-seed", "variation_seed", "which other picture", ("--variation-strength",)),
    Flag("--seamless", "seamless", "x, y or xy: the edges meet, for textures"),
    Flag("--clip-skip", "clip_skip", "which layer of the text encoder speaks: 1 is the last, 2 the last but one"),
    Flag("--vae", "vae", "name of a VAE in data/vaes, in place of the model's own"),
    Flag("--strength", "strength", "how much of the source is drawn anew, up to 1", ("--init",)),
    Flag("--fit", "fit", "crop, pad or stretch the source to width and height", ("--init",)),
    Flag("--region", "region", "masked or whole: what the model sees", _REPAINTING),
    Flag("--padding", "padding", "pixels around the mask that the model sees too", _REPAINTING),
    Flag("--feather", "feather", "pixels over which the seam is blended", _REPAINTING),
    Flag("--fill", "fill", "original, blur, neighbours or noise: what lies under the mask at the start", _REPAINTING),
    Flag("--upscale", "factor", "2 or 4: make the picture of --init larger", ("--init",)),
    Flag("--upscaler", "upscaler", "what enlarges before the model draws over it", ("--upscale",)),
    Flag("--overlap", "overlap", "pixels that neighbouring tiles share", ("--upscale",)),
)
_SOFT = Flag("--soft-mask", "is_soft", "grey in the mask, and its feather, mean a part of the strength", _REPAINTING)
_NEEDS = {flag.name: flag.needs for flag in (*FLAGS, _SOFT)} | {
    "--mask": ("--init",), "--outpaint": ("--init",), "--edit": ("--init",), "--picture": ("--edit",), "--ref-style": ("--ref",), "--ref-adapter": ("--ref",),
}  # fmt: skip
# "mood.png:0.8:0-0.5": only what looks like a weight or a window is taken for one, so that a path may hold colons.
_REFERENCE = re.compile(r"(?P<file>.+?)(?::(?P<weight>-?[\d.]+))?(?::(?P<start>[\d.]+)-(?P<end>[\d.]+))?")
# No two of a row can be meant at once. A folder of pictures comes as a zip.
_ONE_OF = (
    ("--upscale", "--mask"), ("--upscale", "--outpaint"), ("--fit", "--mask"), ("--fit", "--outpaint"), ("--fit", "--upscale"),
    ("--vary", "--dataset", "a zip as --init"), ("--mask", "a zip as --init"), ("--edit", "--mask"), ("--edit", "--outpaint"), ("--edit", "--upscale"),
    ("--edit", "--strength"), ("--edit", "--fit"),
)  # fmt: skip
_OTHERS = (
    "init",
    "mask",
    "edit",
    "picture",
    "outpaint",
    "vary",
    "dataset",
    "clip-guidance",
    "classifier-guidance",
    "ref",
    "ref-style",
    "ref-adapter",
)
_SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class Wish:
    """What was asked for. `values` go to the contract once `init` and `mask` are read into them."""

    values: dict[str, Any]
    out: Path
    init: Path | None = None
    mask: Path | None = None
    # More pictures that an edit looks at.
    pictures: tuple[Path, ...] = ()
    axes: tuple[Axis, ...] = ()
    is_dataset: bool = False
    styles: tuple[str, ...] = ()
    # Reference pictures with everything but the hash of the picture.
    refs: tuple[tuple[Path, dict[str, Any]], ...] = ()
    # The picture of each control unit, and its values.
    units: tuple[tuple[Path, dict[str, Any]], ...] = ()

    @property
    def is_folder(self) -> bool:
        return _is_zip(self.init)

    @property
    def is_sheet(self) -> bool:
        return bool(self.axes) or self.is_dataset or self.is_folder

    @property
    def writes_zip(self) -> bool:
        return _is_zip(self.out)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Every flag of `generate`. Numbers stay words for the contract, so page, API and terminal refuse in the same sentence."""
    parser.add_argument("prompt", nargs="?", help="what you want to see; may be left out with --upscale")
    for flag in FLAGS:
        parser.add_argument(flag.name, dest=flag.field, help=flag.help)
    parser.add_argument(_SOFT.name, dest=_SOFT.field, action="store_const", const=True, help=_SOFT.help)
    parser.add_argument("--style", metavar="NAME", action="append", help="words around yours and against its flaws; may be given several times")
    parser.add_argument("--init", metavar="FILE", type=Path, help="picture to start from, or a zip of pictures to treat alike")
    parser.add_argument("--mask", metavar="FILE", type=Path, help="picture of the same size, white where it says repaint")
    parser.add_argument("--edit", action="store_const", const=True, help="change the picture of --init as the words say, with a model that edits")
    parser.add_argument("--picture", metavar="FILE", type=Path, action="append", help="another picture that the words of --edit may speak of")
    parser.add_argument("--outpaint", metavar="SIDE=PIXELS", action="append", help="grow the frame: left=128,top=64")
    parser.add_argument("--lora", metavar="NAME:WEIGHT", action="append", help="an adapter of the rack: ink:0.7; several times for several")
    add_guidance_flags(parser)
    parser.add_argument(
        "--ref", metavar="FILE:WEIGHT:START-END", action="append",
        help="a picture that is seen beside the words: mood.png:0.8:0-0.5; up to four times",
    )  # fmt: skip
    parser.add_argument("--ref-style", action="store_const", const=True, help="take only the style of the pictures of --ref")
    parser.add_argument("--ref-adapter", metavar="NAME", help="what lets the model see them; its own if left out")
    parser.add_argument(
        "--control",
        metavar="UNIT",
        action="append",
        help="preprocessor:file:weight:start-end:model, the last three as you like: canny:sketch.png:0.8",
    )
    parser.add_argument("--vary", metavar="CONTROL=VALUES", action="append", help="one picture for each value: guidance=3,6,9; at most twice")
    parser.add_argument("--dataset", action="store_const", const=True, help="a class for each of the {a|b} words of the prompt, with captions")
    parser.add_argument("--out", type=Path, help="file to write (easel.png, or easel.zip for a zip or a dataset)")


def read_wish(options: argparse.Namespace) -> Wish:
    """Raises `InvalidRequest` that names the flag."""
    values = {flag.field: value for flag in (*FLAGS, _SOFT) if (value := getattr(options, flag.field)) is not None}
    values |= read_guidance(options)
    axes = _axes(options.vary or [])
    for axis in axes:
        if axis.field in values and not axis.field.endswith("prompt"):
            raise InvalidRequest(f"{_flag_of(axis.field)} cannot be used together with --vary {axis.field}.", field="vary")
    _check_together(_given(options, {*values, *(axis.field for axis in axes)}))
    if options.prompt is not None:
        values["prompt"] = options.prompt
    values |= _growth(options.outpaint or [])
    if options.lora:
        values["loras"] = [_lora(one) for one in options.lora]
    values["mode"] = _mode(options, {*values, *(axis.field for axis in axes)})
    fallback = Path("easel.zip" if options.dataset or _is_zip(options.init) else "easel.png")
    units = tuple(read_unit(one) for one in options.control or ())
    wish = Wish(
        values, options.out or fallback, options.init, options.mask, tuple(options.picture or ()), axes, bool(options.dataset), tuple(options.style or ()),
        _references(options), units,
    )  # fmt: skip
    _check_out(wish)
    return wish


def _mode(options: argparse.Namespace, fields: set[str]) -> str:
    if "factor" in fields:
        return "upscale"
    if options.mask or options.outpaint:
        return "inpaint"
    if options.edit:
        return "edit"
    return "img2img" if options.init else "txt2img"


def _given(options: argparse.Namespace, fields: set[str]) -> set[str]:
    """Names of the flags that are there, or that --vary stands for."""
    files = {f"--{name}" for name in _OTHERS if getattr(options, name.replace("-", "_"))}
    return {_flag_of(field) for field in fields} | files | ({"a zip as --init"} if _is_zip(options.init) else set())


def _check_together(given: set[str]) -> None:
    for one, other in (pair for row in _ONE_OF for pair in combinations(row, 2)):
        if one in given and other in given:
            raise InvalidRequest(f"{one} cannot be used together with {other}.", field=one.lstrip("-"))
    for name, needs in _NEEDS.items():
        if name in given and needs and not given.intersection(needs):
            raise InvalidRequest(f"{name} needs {' or '.join(needs)}.", field=name.lstrip("-"))


def _check_out(wish: Wish) -> None:
    if (wish.is_folder or wish.is_dataset) and not wish.writes_zip:
        raise InvalidRequest("--out has to end in .zip here.", "Many pictures are written.", "out")
    if wish.writes_zip and not wish.is_sheet:
        raise InvalidRequest("--out ends in .zip.", "That is for --vary, --dataset and a zip as --init.", "out")


def _axes(words: list[str]) -> tuple[Axis, ...]:
    if len(words) > 2:
        raise InvalidRequest("--vary can be used twice at most.", field="vary")
    return tuple(parse_axis(*_split(one, "--vary", "guidance=3,6,9")) for one in words)


def _growth(words: list[str]) -> dict[str, str]:
    """`expand_left` and its sisters from "left=128,top=64". Whether 128 is a number is for the contract to say."""
    growth: dict[str, str] = {}
    for part in (part for one in words for part in one.split(",")):
        side, pixels = _split(part, "--outpaint", "left=128,top=64")
        if side not in _SIDES or f"expand_{side}" in growth:
            raise InvalidRequest(f"--outpaint takes each of {', '.join(_SIDES)} once.", "For example left=128,top=64.", "outpaint")
        growth[f"expand_{side}"] = pixels
    return growth


def _lora(text: str) -> dict[str, str]:
    """Name and weight from "ink:0.7"; what they may be is for the contract to say."""
    name, sign, weight = text.partition(":")
    return {"name": name.strip(), "weight": weight.strip()} if sign else {"name": name.strip()}


def _references(options: argparse.Namespace) -> tuple[tuple[Path, dict[str, Any]], ...]:
    """Files and settings of the reference pictures; what the settings may be is for the contract to say."""
    shared = {"style_only": True} if options.ref_style else {}
    if options.ref_adapter is not None:
        shared["adapter"] = options.ref_adapter
    found: list[tuple[Path, dict[str, Any]]] = []
    for text in options.ref or []:
        parts: dict[str, str | None] = match.groupdict() if (match := _REFERENCE.fullmatch(text)) else {"file": text}
        settings = {name: value for name, value in parts.items() if value is not None and name != "file"}
        found.append((Path(parts["file"] or ""), {**settings, **shared}))
    return tuple(found)


def _split(text: str, flag: str, example: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise InvalidRequest(f"{flag} is written like this: {flag} {example}", field=flag.lstrip("-"))
    return name.strip(), value.strip()


def _flag_of(field: str) -> str:
    return next((flag.name for flag in (*FLAGS, _SOFT) if flag.field == field), f"--{field}")


def _is_zip(path: Path | None) -> bool:
    return path is not None and path.suffix.lower() == ".zip"
