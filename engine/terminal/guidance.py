"""Flags of guidance that stand for two fields at once."""

from __future__ import annotations

import argparse

from engine import InvalidRequest

_SCORES = ("clip", "classifier")


def add_guidance_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--guidance-window", metavar="START-END", help="shares of the steps in which guidance acts: 0.2-0.8")
    for name in _SCORES:
        parser.add_argument(f"--{name}-guidance", metavar="SCALE", help="experiment: a second model draws each step towards --score-target")


def read_guidance(options: argparse.Namespace) -> dict[str, str]:
    """Raises `InvalidRequest` that names the flag. What a number may be is for the contract to say."""
    values: dict[str, str] = {}
    if options.guidance_window is not None:
        start, sign, end = options.guidance_window.partition("-")
        if not sign:
            raise InvalidRequest("--guidance-window is written like this: --guidance-window 0.2-0.8", field="guidance-window")
        values |= {name: part.strip() for name, part in (("guidance_start", start), ("guidance_end", end)) if part.strip()}
    scales = {name: scale for name in _SCORES if (scale := getattr(options, f"{name}_guidance")) is not None}
    if len(scales) > 1:
        raise InvalidRequest("--clip-guidance cannot be used together with --classifier-guidance.", field="clip-guidance")
    for name, scale in scales.items():
        values |= {"score_guidance": name, "score_scale": scale}
    return values
