"""Adapters and weights from the hub: pinned, whole or not at all, gone on with after a broken line, and every failure a sentence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from engine import Engine, EngineError, InvalidRequest, Settings
from engine.contract.hub import HubFile, HubName, HubOffer, parse_hub_name
from engine.contract.preprocessors import PREPROCESSORS
from engine.library import adapter_uploads, hub_loras
from engine.library.hub import Hub
from engine.library.hub_loras import HubLoras, shelf_name
from engine.library.loras import Loras
from engine.library.preprocessors import Preprocessors
from tests.hub import COMMIT, LATER, TinyHub

GOOD = save({"unet.a.attn2.to_k.lora_A.weight": torch.randn(64, 256), "unet.a.attn2.to_k.lora_B.weight": torch.randn(256, 64)})
CARD = {"license": "openrail", "base_model": ["runwayml/stable-diffusion-v1-5"], "instance_prompt": "soft haze"}


@pytest.fixture
def hub() -> Iterator[TinyHub]:
    files = {"mood.safetensors": GOOD, "pytorch_model.bin": b"pickle", "sub/other.safetensors": GOOD}
    with TinyHub({"ada/mood": {"pytorch_lora_weights.safetensors": GOOD}, "ada/many": files, "ada/old": {"x.ckpt": b"pickle"}}, CARD) as tiny:
        yield tiny


class Rack:
    """A rack's folder and what fetches into it."""

    def __init__(self, root: Path, hub: TinyHub) -> None:
        self.root = root / "loras"
        self.shelf = Loras((self.root,))
        self.loras = HubLoras(self.root, Hub(hub.endpoint))

    def offer(self, name: str = "ada/mood") -> HubOffer:
        return self.loras.offers(name)[0]

    def names(self) -> list[str]:
        return [card.name for card in self.shelf.cards()]


@pytest.fixture
def rack(tmp_path: Path, hub: TinyHub) -> Rack:
    return Rack(tmp_path, hub)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("ada/mood", HubName("ada/mood")), (" ada/mood/a/b.safetensors ", HubName("ada/mood", "a/b.safetensors")),
        ("ada/mood@v1.0", HubName("ada/mood", None, "v1.0")), (f"ada/mood@{COMMIT}/x.safetensors", HubName("ada/mood", "x.safetensors", COMMIT)),
        ("https://huggingface.co/ada/mood", HubName("ada/mood")), ("https://huggingface.co/ada/mood/tree/main", HubName("ada/mood", None, "main")),
        ("https://huggingface.co/ada/mood/blob/main/a/b.safetensors?x=1", HubName("ada/mood", "a/b.safetensors", "main")),
        ("https://hf.co/ada/mood/resolve/v1/b.safetensors", HubName("ada/mood", "b.safetensors", "v1")),
    ],
)  # fmt: skip
def test_a_hub_id_is_read(text: str, meant: HubName) -> None:
    assert parse_hub_name(text, "loras") == meant


@pytest.mark.parametrize(
    "text",
    ["", "mood", "ada/", "/etc/passwd", "ada/mood/../../x", "ada/mood//x", "http://127.0.0.1/ada/mood", "https://evil.example/ada/mood/blob/main/x.safetensors",
     "../ada", "ada/..", "ada/mood/\x00", "ada/mood@../x", "file:///etc/passwd", "ada\\mood", "a/" + "b" * 400],
)  # fmt: skip
def test_what_names_nothing_on_the_hub_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="names nothing on the hub") as caught:
        parse_hub_name(text, "loras")
    assert caught.value.field == "loras"


def test_an_offer_says_commit_size_and_licence_before_a_byte_is_fetched(rack: Rack, hub: TinyHub) -> None:
    offer = rack.offer()
    assert (offer.revision, offer.size_bytes, offer.licence, offer.base) == (COMMIT, len(GOOD), "openrail", "runwayml/stable-diffusion-v1-5")
    assert hub.ranges() == []
    assert [one.path for one in rack.loras.offers("ada/many")] == ["mood.safetensors", "sub/other.safetensors"]
    assert rack.offer("ada/many/sub/other.safetensors").path == "sub/other.safetensors"


def test_a_fetched_adapter_is_in_the_rack_with_its_licence_and_source(rack: Rack) -> None:
    heard: list[tuple[int, int]] = []
    card = rack.shelf.fetch(rack.loras, rack.offer(), lambda here, total: heard.append((here, total)))
    # Everybody's file has this name; the repository tells them apart.
    assert (card.name, card.licence, card.trigger) == ("mood", "openrail", "soft haze")
    assert card.source == f"ada/mood@{COMMIT}/pytorch_lora_weights.safetensors"
    assert rack.shelf.cards() == [card]
    assert (rack.root / "mood.safetensors").read_bytes() == GOOD
    assert heard[-1] == (len(GOOD), len(GOOD))
    assert heard == sorted(heard)
    assert list((rack.root / ".hub").iterdir()) == []
    with pytest.raises(InvalidRequest, match="LoRA named mood here already"):
        rack.shelf.fetch(rack.loras, rack.offer())


def test_what_was_noted_is_about_these_bytes_only(rack: Rack) -> None:
    rack.shelf.fetch(rack.loras, rack.offer())
    other = save({"unet.a.attn2.to_k.lora_A.weight": torch.ones(2, 256), "unet.a.attn2.to_k.lora_B.weight": torch.ones(8, 2)})
    (rack.root / "mood.safetensors").write_bytes(other)
    assert (rack.shelf.cards()[0].licence, rack.shelf.cards()[0].source) == ("", "")


def test_a_commit_is_fetched_though_the_branch_has_moved_on(rack: Rack, hub: TinyHub) -> None:
    offer = rack.offer()
    hub.commit = LATER
    with pytest.raises(EngineError, match="not in ada/mood any more"):
        rack.shelf.fetch(rack.loras, offer)
    assert [path for _, path, _ in hub.asked if "/resolve/" in path] == [f"/ada/mood/resolve/{COMMIT}/pytorch_lora_weights.safetensors"]
    assert rack.names() == []


def test_a_broken_line_goes_on_where_it_broke(rack: Rack, hub: TinyHub) -> None:
    offer = rack.offer()
    hub.breaks_at = 50_000
    with pytest.raises(EngineError, match=r"line broke.*0\.\d MB are here: the next try goes on from there") as caught:
        rack.shelf.fetch(rack.loras, offer)
    assert caught.value.field == "loras"
    assert rack.names() == []
    hub.breaks_at = None
    # A studio that was started anew, too.
    again = Rack(rack.root.parent, hub)
    again.shelf.fetch(again.loras, offer)
    first, second = hub.ranges()
    assert first == ""
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 50_000
    assert (rack.root / "mood.safetensors").read_bytes() == GOOD


def test_a_hub_that_knows_no_ranges_is_read_from_the_start(rack: Rack, hub: TinyHub) -> None:
    offer = rack.offer()
    hub.breaks_at = 50_000
    with pytest.raises(EngineError):
        rack.shelf.fetch(rack.loras, offer)
    hub.breaks_at, hub.ignores_ranges = None, True
    rack.shelf.fetch(rack.loras, offer)
    assert (rack.root / "mood.safetensors").read_bytes() == GOOD


def test_other_bytes_than_promised_are_thrown_away(rack: Rack, hub: TinyHub) -> None:
    offer = rack.offer()
    hub.lies = True
    with pytest.raises(EngineError, match="other bytes than the hub promised"):
        rack.shelf.fetch(rack.loras, offer)
    assert [path for path in rack.root.rglob("*") if path.is_file()] == []
    hub.lies = False
    rack.shelf.fetch(rack.loras, offer)
    assert rack.names() == ["mood"]


def test_what_is_no_lora_is_judged_and_gone(rack: Rack, hub: TinyHub) -> None:
    for content, said in (
        (save({"model.diffusion_model.x": torch.ones(2)}), "holds no LoRA"),
        (b"not safetensors at all", "damaged"),
        (save({"unet.a.lora_A.weight": torch.tensor([float("nan")])}), "numbers that are none"),
        (save({"lora_unet_a.hada_w1_a": torch.ones(2, 2)}), "LoHa"),
    ):
        hub.repositories["ada/mood"] = {"pytorch_lora_weights.safetensors": content}
        with pytest.raises(EngineError, match=said) as caught:
            rack.shelf.fetch(rack.loras, rack.offer())
        assert caught.value.field == "loras"
        assert [path for path in rack.root.rglob("*") if path.is_file()] == []


def test_the_same_file_is_fetched_once_at_a_time(rack: Rack, hub: TinyHub) -> None:
    offer = rack.offer()
    hub.goes_on.clear()
    begun = threading.Event()
    thread = threading.Thread(target=rack.shelf.fetch, args=(rack.loras, offer, lambda *_: begun.set()))
    thread.start()
    assert begun.wait(10)
    # Half of it is here, and no shelf shows it.
    assert rack.names() == []
    with pytest.raises(EngineError, match="being fetched already"):
        rack.shelf.fetch(rack.loras, offer)
    hub.goes_on.set()
    thread.join(10)
    assert rack.names() == ["mood"]


def test_a_whole_model_is_refused_before_it_is_fetched(rack: Rack, hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert adapter_uploads.BYTES_MAX == hub_loras.BYTES_MAX
    monkeypatch.setattr(hub_loras, "BYTES_MAX", 1000)
    with pytest.raises(InvalidRequest, match="is this a whole model"):
        rack.shelf.fetch(rack.loras, rack.offer())
    assert hub.ranges() == []


def test_every_failure_is_a_sentence_about_the_rack(rack: Rack, hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(name: str) -> str:
        with pytest.raises(EngineError) as caught:
            rack.shelf.fetch(rack.loras, rack.offer(name))
        assert caught.value.field == "loras"
        assert caught.value.hint
        assert str(rack.root) not in str(caught.value)
        return str(caught.value)

    assert "There is no ada/nothing on the hub" in said("ada/nothing")
    assert "no such revision" in said("ada/mood@v9")
    assert "no .safetensors file that this names in ada/old. Other formats can hide programs" in said("ada/old")
    assert "no .safetensors file that this names" in said("ada/many/pytorch_model.bin")
    assert "There is no x.safetensors in ada/many. It holds mood.safetensors" in said("ada/many/x.safetensors")
    hub.gated.add("ada/mood")
    assert "agreed to its terms" in said("ada/mood")
    hub.status = 500
    assert "answered with an error (500)" in said("ada/mood")
    hub.status = 200
    hub.commit = "main"
    assert "names no commit" in said("ada/mood")
    rack.loras = HubLoras(rack.root, Hub("http://127.0.0.1:9"))
    assert "cannot be reached" in said("ada/mood")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "set to work offline" in said("ada/mood")


def test_a_full_disk_is_said_before_anything_is_fetched(rack: Rack, hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = rack.offer()
    from engine.library import hub as module

    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: module.shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match="There is no room for 0 MB"):
        rack.shelf.fetch(rack.loras, offer)
    assert hub.ranges() == []


def test_names_on_the_shelf(hub: TinyHub) -> None:
    def named(repository: str, path: str) -> str:
        return shelf_name(HubOffer(repository=repository, revision=COMMIT, path=path, size_bytes=1))

    assert named("ada/mood", "sub/adapter_model.safetensors") == "mood"
    assert named("ada/mood", "Ink (v2).safetensors") == "Ink-v2"


def test_a_public_studio_fetches_nothing(tmp_path: Path) -> None:
    engine = Engine(Settings(data=tmp_path, public=True, visitor_adapters=True))
    assert not engine.may_fetch
    with pytest.raises(InvalidRequest, match="Nothing can be fetched"):
        engine.check_may_fetch("loras")
    assert Engine(Settings(data=tmp_path)).may_fetch


def test_weights_of_a_preprocessor_come_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"a.pth": b"1" * 200_000, "deep/b.pth": b"2" * 100_000}
    with TinyHub({"ada/eyes": contents}) as hub:
        import hashlib
        from dataclasses import replace

        files = tuple(HubFile("ada/eyes", COMMIT, path, len(one), hashlib.sha256(one).hexdigest()) for path, one in contents.items())
        monkeypatch.setitem(PREPROCESSORS, "hed", replace(PREPROCESSORS["hed"], weights=files))
        shelf = Preprocessors(tmp_path, Hub(hub.endpoint))
        hub.breaks_at = 150_000
        with pytest.raises(EngineError, match=r"Soft edges \(HED\) could not be fetched.*line broke.*goes on from there.*by hand") as caught:
            shelf.fetch("hed")
        assert caught.value.field == "controls"
        assert not shelf.is_ready("hed")
        hub.breaks_at = None
        heard: list[int] = []
        assert shelf.fetch("hed", lambda here, _: heard.append(here)) == tmp_path / "hed"
        assert shelf.is_ready("hed")
        assert heard[-1] == 300_000
        # The first file goes on, the second is whole: three looks at files in all.
        assert hub.ranges()[0] == ""
        assert hub.ranges()[1].startswith("bytes=")
        assert [(tmp_path / "hed" / path).read_bytes() == one for path, one in contents.items()] == [True, True]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["hed"]


def test_every_preprocessor_is_pinned_weighed_and_hashed() -> None:
    for name, facts in PREPROCESSORS.items():
        for one in facts.weights:
            assert len(one.revision) == 40, name
            assert len(one.sha256) == 64, name
            assert one.size_bytes > 0, name
        assert facts.licence, name
