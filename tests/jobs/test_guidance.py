"""Through the door: styles of guidance beside each other on one seed, and what a terminal asks for."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from engine import Engine, InvalidRequest, parse_axis, parse_request
from engine.terminal.flags import add_flags, read_wish
from tests.conftest import OWNER, events_of
from tests.pictures import read

SMALL = {"prompt": "a red castle", "steps": 4, "width": 64, "height": 64}


def test_a_grid_over_styles_and_rescale_shares_its_seed(inline_engine: Engine) -> None:
    axes = [parse_axis("style", "cfg, apg, tangential"), parse_axis("guidance rescale", "0, 0.7")]
    sheet = inline_engine.sheets.grid(SMALL, axes, OWNER)
    assert sheet.columns == ("Guidance style CFG", "Guidance style APG", "Guidance style Tangential CFG")
    assert sheet.rows == ("Guidance rescale 0", "Guidance rescale 0.7")
    for cell in sheet.cells:
        events_of(inline_engine, cell.job_id or "")
    views = inline_engine.sheets.cells(sheet)
    recipes = [view.pictures[0].recipe for view in views]
    assert [one.guidance.style for one in recipes] == ["cfg", "apg", "tangential"] * 2
    assert [one.guidance.rescale for one in recipes] == [0.0] * 3 + [0.7] * 3
    assert len({one.seed for one in recipes}) == 1
    assert len({read(view.pictures[0]).tobytes() for view in views}) == 6


def test_an_axis_with_a_style_that_is_none_says_so_in_its_cell(inline_engine: Engine) -> None:
    sheet = inline_engine.sheets.grid(SMALL, [parse_axis("guidance_style", "pag, magic")], OWNER)
    error = sheet.cells[1].error
    assert error is not None
    assert error["field"] == "guidance_style"
    events_of(inline_engine, sheet.cells[0].job_id or "")


def wish(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return read_wish(parser.parse_args(["a red castle", *arguments])).values


def test_flags_of_guidance() -> None:
    values = wish("--guidance-style", "apg", "--guidance-rescale", "0.7", "--guidance-window", "0.2-0.8", "--clip-guidance", "100")
    request = parse_request(values)
    assert (request.guidance_style, request.guidance_rescale, request.guidance_start, request.guidance_end) == ("apg", 0.7, 0.2, 0.8)
    assert (request.score_guidance, request.score_scale, request.score_target) == ("clip", 100.0, "")
    pag = parse_request(wish("--guidance-style", "pag", "--perturbation", "2", "--classifier-guidance", "50", "--score-target", "castle | ship"))
    assert (pag.perturbed_scale, pag.score_guidance, pag.score_scale, pag.score_target) == (2.0, "classifier", 50.0, "castle | ship")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--guidance-window", "0.5"), "--guidance-window is written like this"),
        (("--clip-guidance", "1", "--classifier-guidance", "1"), "cannot be used together"),
        (("--perturbation", "3"), "--perturbation needs --guidance-style"),
        (("--score-target", "castle"), "--score-target needs --clip-guidance or --classifier-guidance"),
    ],
)
def test_flags_that_make_no_sense_together(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        wish(*arguments)
