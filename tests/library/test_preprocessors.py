"""Weights of preprocessors: not here is said with size and licence, and fetching says why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.contract.errors import EngineError, InvalidRequest, ModelNotFound
from engine.contract.preprocessors import PREPROCESSORS
from engine.library.maps import map_key
from engine.library.preprocessors import Preprocessors

BUNDLED = ("canny", "lineart_standard", "shuffle", "depth")


def test_what_needs_no_download_is_ready(tmp_path: Path) -> None:
    cards = {card.name: card for card in Preprocessors(tmp_path).cards()}
    assert cards.keys() == PREPROCESSORS.keys()
    assert [name for name, card in cards.items() if card.is_ready] == list(BUNDLED)
    assert all(card.size_mb > 0 and card.licence for name, card in cards.items() if name not in BUNDLED)


def test_what_is_not_here_says_how_it_comes(tmp_path: Path) -> None:
    shelf = Preprocessors(tmp_path)
    with pytest.raises(ModelNotFound, match=r"29 MB, licence: Apache-2.0.*fetch-preprocessor hed") as caught:
        shelf.folder("hed")
    assert caught.value.field == "controls"
    assert shelf.folder("canny") is None
    for file in ("sk_model.pth", "sk_model2.pth"):
        assert not shelf.is_ready("lineart")
        (tmp_path / "lineart").mkdir(exist_ok=True)
        (tmp_path / "lineart" / file).write_bytes(b"1")
    assert shelf.folder("lineart") == tmp_path / "lineart"


def test_fetching_offline_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    shelf = Preprocessors(tmp_path)
    with pytest.raises(EngineError, match=r"The weights of Soft edges \(HED\) could not be fetched") as caught:
        shelf.fetch("hed")
    assert "ControlNetHED.pth" in caught.value.hint
    assert not shelf.is_ready("hed")
    for name in ("canny", "../hed", "nothing"):
        with pytest.raises(InvalidRequest):
            shelf.fetch(name)


def test_a_key_says_all_that_a_map_depends_on() -> None:
    plain = {"low": 100, "high": 200}
    keys = [
        map_key("a", "canny", plain), map_key("b", "canny", plain), map_key("a", "canny", {**plain, "low": 99}), map_key("a", "shuffle", {}),
        map_key("a", "hed", {}), map_key("a", "pidinet", {}),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert map_key("a", "canny", {"high": 200.0, "low": 100.0}) == keys[0]
