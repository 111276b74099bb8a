"""The lines of the dialog about a model: what its folder says, and what is said where it says nothing."""

from __future__ import annotations

from engine import Room, fit
from engine.library.catalogue import read_card
from tests.conftest import STARTER
from ui.controls.about import about_view


def test_the_folder_speaks_first_and_the_licence_is_said_once() -> None:
    card = read_card(STARTER)
    titles = [line["title"] for line in about_view(card, None)]
    assert titles == ["In short", *(line.title for line in card.about), "On this machine"]
    assert titles.count("Licence") == 1


def test_a_folder_that_says_nothing_still_has_lines() -> None:
    bare = read_card(STARTER).model_copy(update={"about": (), "licence": "", "note": ""})
    lines = {line["title"]: line["text"] for line in about_view(bare, fit(bare.parts, Room("card", 8 * 1024**3, is_host=False)))}
    assert list(lines) == ["Licence", "On this machine"]
    assert "does not say" in lines["Licence"]
    assert lines["On this machine"].endswith("made for 256 × 256. Memory: 0.2 of 8 GB.")
