"""Whole models from the hub: looked at before a byte of weights is fetched, whole and judged or not there at all, gone on with after every kind of break."""

from __future__ import annotations

import errno
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from engine import Busy, Download, EngineError
from engine.contract.hub import HubModel
from engine.contract.parts import PARTS
from engine.diffusion.families import FAMILIES
from engine.diffusion.loading import check_model
from engine.downloads import Downloads
from engine.library import hub as hub_module
from engine.library.catalogue import BUNDLED, Catalogue
from engine.library.hub import Hub
from engine.library.hub_models import HubModels, Stopped, origin
from tests.diffusion.families import make_family
from tests.diffusion.tiny import make_model
from tests.hub import COMMIT, TinyHub, files_of
from tests.studio import wait_for

CARD = {"license": "openrail++", "license_link": "x"}
UNET = "unet/diffusion_pytorch_model.safetensors"
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A model of a few megabytes with everything that repositories have around one."""
    files = files_of(make_model(tmp_path_factory.mktemp("tiny") / "model", in_channels=4))
    return files | {
        "README.md": b"---\nlicense: openrail++\n---\n# Tiny\nDrawn by nobody.\n", "LICENSE.md": b"be kind", ".gitattributes": b"x", "setup.py": b"boom()",
        "unet/pipeline.py": b"boom()", "unet/diffusion_pytorch_model.bin": b"pickle", "model.ckpt": b"pickle", "tiny.safetensors": b"another layout",
        "unet/diffusion_pytorch_model.non_ema.safetensors": b"not these", "safety_checker/model.safetensors": b"nor these",
    }  # fmt: skip


@pytest.fixture
def hub(tiny: Files) -> Iterator[TinyHub]:
    with TinyHub({"ada/tiny": dict(tiny)}, CARD) as running:
        yield running


class Shelf:
    """A folder of models, what fetches into it, and what the catalogue says of it."""

    def __init__(self, root: Path, hub: TinyHub, **options: Any) -> None:
        self.root = root / "models"
        self.models = HubModels(self.root, Hub(hub.endpoint, **options), pause_s=0.01)
        self.catalogue = Catalogue((BUNDLED, self.root))

    def bring(self, name: str = "ada/tiny", **more: Any) -> Path:
        plan = self.models.look(name)
        self.models.begin(plan)
        return self.models.fetch(plan, **more)

    def names(self) -> list[str]:
        return [card.name for card in self.catalogue.cards() if not card.is_bundled]

    def refused(self, name: str = "ada/tiny") -> str:
        """The sentence, about the control, with a next step and without a path of this machine."""
        with pytest.raises(EngineError) as caught:
            self.bring(name)
        assert caught.value.field == "model"
        assert caught.value.hint
        assert str(self.root) not in str(caught.value)
        assert self.names() == []
        return str(caught.value)


@pytest.fixture
def shelf(tmp_path: Path, hub: TinyHub) -> Shelf:
    return Shelf(tmp_path, hub)


def change(hub: TinyHub, path: str, **values: Any) -> None:
    files = hub.repositories["ada/tiny"]
    files[path] = json.dumps(json.loads(files[path]) | values).encode()


def halves(content: bytes) -> bytes:
    return save_arrays({name: array.astype("float16") for name, array in load_arrays(content).items()})


# Looking


def test_a_look_says_everything_and_fetches_no_weights(shelf: Shelf, hub: TinyHub, tiny: Files) -> None:
    plan = shelf.models.look("https://huggingface.co/ada/tiny")
    assert (plan.repository, plan.revision, plan.name, plan.family, plan.licence) == ("ada/tiny", COMMIT, "tiny", "sd1", "openrail++")
    wanted = {
        path for path in tiny
        if path.split("/")[0] in ("unet", "vae", "text_encoder", "tokenizer", "scheduler", "model_index.json", "README.md", "LICENSE.md")
    } - {"unet/pipeline.py", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.non_ema.safetensors"}  # fmt: skip
    assert {one.path for one in plan.files} == wanted
    assert plan.size_bytes == sum(len(tiny[path]) for path in wanted)
    # Weights lie there in 32 bit; memory is counted in 16.
    assert plan.parts["unet"] == pytest.approx(len(tiny[UNET]) / 2, rel=0.05)
    assert set(plan.parts) == {"unet", "vae", "text_encoder"}
    assert not shelf.root.exists()
    whole = {path.split(f"/resolve/{COMMIT}/")[1] for _, path, wanted in hub.asked if "/resolve/" in path and wanted in ("", f"bytes=0-{2**30}")}
    assert whole == set()
    assert shelf.models.look(f"ada/tiny@{COMMIT}") == plan


def test_every_part_that_a_family_loads_is_known_before_it_is_fetched() -> None:
    assert set(FAMILIES) == set(PARTS)
    for key, family in FAMILIES.items():
        assert (dict(family.components), family.optional) == (dict(PARTS[key].classes), PARTS[key].optional), key


@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux1", "flux2", "zimage", "qwen"])
def test_a_model_of_every_family_comes_and_loads(family: str, tmp_path: Path, hub: TinyHub) -> None:
    hub.repositories["ada/one"] = files_of(make_family(tmp_path / "one", family))
    shelf = Shelf(tmp_path, hub)
    folder = shelf.bring("ada/one")
    assert shelf.names() == ["one"]
    assert (shelf.catalogue.card("one").family, check_model(folder).family.key) == (family, family)


# Fetching


def test_a_fetched_model_is_on_the_shelf_with_licence_and_commit(shelf: Shelf, hub: TinyHub, tiny: Files) -> None:
    heard: list[tuple[int, int]] = []
    folder = shelf.bring(report=lambda here, total: heard.append((here, total)))
    card = shelf.catalogue.card("tiny")
    assert (card.title, card.licence, card.source, card.family) == ("tiny", "openrail++", f"ada/tiny@{COMMIT}", "sd1")
    assert origin(folder) == f"ada/tiny@{COMMIT}"
    assert (folder / UNET).read_bytes() == tiny[UNET]
    assert check_model(folder).parts == ["tokenizer", "text_encoder", "unet", "vae"]
    strangers = [path.name for path in folder.rglob("*") if path.is_file() and path.suffix not in (".json", ".safetensors", ".md", ".txt")]
    assert strangers == []
    assert heard[-1][0] == heard[-1][1]
    assert [here for here, _ in heard] == sorted(here for here, _ in heard)
    assert list((shelf.root / ".downloads").iterdir()) == []
    with pytest.raises(EngineError, match="tiny is here already, at this very commit"):
        shelf.models.look("ada/tiny")


def test_of_two_models_of_one_name_the_second_has_its_owners_before_it(shelf: Shelf, hub: TinyHub) -> None:
    hub.repositories["eve/tiny"] = hub.repositories["ada/tiny"]
    shelf.bring()
    assert shelf.bring("eve/tiny").name == "eve-tiny"
    assert shelf.names() == ["eve-tiny", "tiny"]


def test_half_precision_is_taken_where_there_is_both_and_loads_under_the_plain_name(shelf: Shelf, hub: TinyHub, tiny: Files) -> None:
    hub.repositories["ada/tiny"]["unet/diffusion_pytorch_model.fp16.safetensors"] = halves(tiny[UNET])
    plan, full = shelf.models.look("ada/tiny"), shelf.models.look("ada/tiny", "full")
    assert plan.other_bytes == full.size_bytes > plan.size_bytes == full.other_bytes
    assert plan.parts == pytest.approx(full.parts, rel=0.05)
    folder = shelf.bring()
    assert sorted(path.name for path in (folder / "unet").iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert (folder / UNET).read_bytes() == halves(tiny[UNET])
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    assert UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True, use_safetensors=True).config["cross_attention_dim"] == 256


@pytest.mark.parametrize(("early", "late"), [(".fp16", ""), ("", ".fp16")])
def test_pieces_of_half_precision_are_renamed_with_their_index(shelf: Shelf, hub: TinyHub, tiny: Files, early: str, late: str) -> None:
    arrays = load_arrays(halves(tiny[UNET]))
    names = sorted(arrays)
    files = hub.repositories["ada/tiny"]
    weight_map: dict[str, str] = {}
    for number, some in ((1, names[::2]), (2, names[1::2])):
        piece = f"diffusion_pytorch_model{early}-0000{number}-of-00002{late}.safetensors"
        files[f"unet/{piece}"] = save_arrays({name: arrays[name] for name in some})
        weight_map |= dict.fromkeys(some, piece)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    files["unet/diffusion_pytorch_model.safetensors.index.fp16.json"] = json.dumps(index).encode()
    folder = shelf.bring()
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    assert sorted(path.name for path in (folder / "unet").glob("*.safetensors")) == [
        f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)
    ]
    loaded = UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True, use_safetensors=True)
    assert sorted(loaded.state_dict()) == names
    # Without its index, or with a piece missing, these are no whole set: the plain file is taken.
    del files["unet/diffusion_pytorch_model.safetensors.index.fp16.json"]
    assert [
        one.path for one in HubModels(shelf.root / "x", Hub(hub.endpoint)).look("ada/tiny").files if "unet/" in one.path and "safetensors" in one.path
    ] == [UNET]


def test_a_broken_line_is_gone_on_with_by_itself(shelf: Shelf, hub: TinyHub, tiny: Files) -> None:
    plan = shelf.models.look("ada/tiny")
    hub.breaks_at = 300_000
    shelf.models.begin(plan)
    folder = shelf.models.fetch(plan)
    assert (folder / UNET).read_bytes() == tiny[UNET]
    assert sum(wanted.startswith("bytes=") for wanted in hub.ranges()) >= len(tiny[UNET]) // 300_000


def test_large_files_that_lie_elsewhere_are_followed_and_the_token_stays(
    shelf: Shelf, hub: TinyHub, tiny: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.sends_elsewhere, hub.breaks_at = True, 600_000
    folder = shelf.bring()
    assert (folder / UNET).read_bytes() == tiny[UNET]
    assert hub.told_tokens
    assert not any(path.startswith("/store/") for path in hub.told_tokens)
    assert any(path.startswith("/store/") and wanted.startswith("bytes=") for _, path, wanted in hub.asked)


def test_a_studio_that_died_goes_on_where_it_was(shelf: Shelf, hub: TinyHub, tmp_path: Path) -> None:
    plan = shelf.models.look("ada/tiny")
    shelf.models.begin(plan)
    stop = threading.Event()
    with pytest.raises(Stopped):
        shelf.models.fetch(plan, lambda here, _: stop.set() if here > 400_000 else None, stop)
    # Half of it is here; no list shows it, nothing loads it.
    assert shelf.names() == []
    before = shelf.models.here_bytes(plan)
    assert 400_000 < before < plan.size_bytes
    again = Shelf(tmp_path, hub)
    assert again.models.begun() == [plan]
    hub.asked.clear()
    again.models.fetch(plan)
    assert again.names() == ["tiny"]
    # Only the file that was cut is asked for from its middle; those that were whole are not asked for at all.
    assert hub.ranges()[0].startswith("bytes=")
    assert len(hub.ranges()) < len(plan.files)
    assert again.models.begun() == []


def test_one_model_is_fetched_by_one_at_a_time(shelf: Shelf, hub: TinyHub, tmp_path: Path) -> None:
    plan = shelf.models.look("ada/tiny")
    shelf.models.begin(plan)
    other = Shelf(tmp_path, hub)
    hub.goes_on.clear()
    begun = threading.Event()
    thread = threading.Thread(target=shelf.models.fetch, args=(plan, lambda *_: begun.set()))
    thread.start()
    assert begun.wait(10)
    for act in (lambda: other.models.fetch(plan), lambda: other.models.remove("tiny")):
        with pytest.raises(EngineError, match="is being fetched already, perhaps by another program"):
            act()
    hub.goes_on.set()
    thread.join(30)
    assert shelf.names() == ["tiny"]


# What goes wrong


def test_a_hub_that_refuses_or_fails_is_one_sentence(shelf: Shelf, hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {401: "wants a valid token from this machine", 403: "does not let this machine read ada/tiny", 404: "There is no ada/tiny",
            429: "Too much was asked of the hub", 500: "answered with an error (500)", 503: "answered with an error (503)"}  # fmt: skip
    for status, words in said.items():
        hub.status = status
        assert words in shelf.refused()
    hub.status = 200
    # The same in the middle: what is here stays, and is gone on with.
    for status in (403, 429, 500):
        hub.broken = {UNET: status}
        plan = _plan_of(shelf, hub)
        shelf.models.begin(plan)
        with pytest.raises(EngineError) as caught:
            shelf.models.fetch(plan)
        assert caught.value.hint
        assert shelf.models.here_bytes(plan) > 0
        assert shelf.names() == []
    hub.broken = {}
    assert shelf.models.fetch(plan).name == "tiny"
    assert "There is no ada/none on the hub" in Shelf(shelf.root, hub).refused("ada/none")
    assert "no such revision" in Shelf(shelf.root, hub).refused("ada/tiny@v9")
    assert "This names one file" in Shelf(shelf.root, hub).refused("ada/tiny/x.safetensors")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    elsewhere = Shelf(shelf.root, hub)
    elsewhere.models = HubModels(elsewhere.root, Hub("http://127.0.0.1:9"))
    assert "cannot be reached" in elsewhere.refused()


def _plan_of(shelf: Shelf, hub: TinyHub) -> HubModel:
    """A look at the hub while it is well."""
    broken, hub.broken = hub.broken, {}
    try:
        return shelf.models.look("ada/tiny")
    finally:
        hub.broken = broken


def test_a_gated_model_says_how_to_get_in(shelf: Shelf, hub: TinyHub) -> None:
    hub.gated.add("ada/tiny")
    said = shelf.refused()
    assert "only for people who have agreed to its terms" in said
    assert "huggingface.co/ada/tiny" in said
    assert "HF_TOKEN" in said


def test_a_hub_that_falls_silent_in_a_file_is_given_up_with_what_came(tmp_path: Path, hub: TinyHub) -> None:
    shelf = Shelf(tmp_path, hub, patience_s=0.3)
    plan = shelf.models.look("ada/tiny")
    shelf.models.begin(plan)
    hub.goes_on.clear()
    with pytest.raises(EngineError, match=r"line broke.*goes on from there"):
        shelf.models.fetch(plan)
    assert shelf.names() == []
    hub.goes_on.set()
    assert shelf.models.fetch(plan).name == "tiny"


def test_other_bytes_than_promised_are_thrown_away(shelf: Shelf, hub: TinyHub) -> None:
    plan = shelf.models.look("ada/tiny")
    shelf.models.begin(plan)
    hub.lies = True
    # The small ones come first: they are known by git's hash.
    with pytest.raises(EngineError, match=r"README\.md|LICENSE\.md|json"):
        shelf.models.fetch(plan)
    assert shelf.models.here_bytes(plan) == 0
    hub.lies = False
    content = hub.repositories["ada/tiny"][UNET]
    hub.repositories["ada/tiny"][UNET] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(EngineError, match=rf"{UNET} of ada/tiny arrived with other bytes than the hub promised"):
        shelf.models.fetch(plan)
    assert shelf.names() == []
    hub.repositories["ada/tiny"][UNET] = content
    assert shelf.models.fetch(plan).name == "tiny"


def test_what_brings_code_or_unknown_classes_is_refused_before_it_is_fetched(shelf: Shelf, hub: TinyHub, tiny: Files) -> None:
    def said(path: str, **values: Any) -> str:
        hub.repositories["ada/tiny"] = dict(tiny)
        change(hub, path, **values)
        sentence = shelf.refused()
        assert not (shelf.root / ".downloads").exists()
        return sentence

    assert "brings a pipeline of its own" in said("model_index.json", _class_name=["pipeline", "Mine"])
    assert "The unet of ada/tiny needs code of its own" in said("model_index.json", unet=["my_unet", "UNet"])
    assert "The vae of ada/tiny is a EvilVae, which Easel does not know" in said("model_index.json", vae=["diffusers", "EvilVae"])
    assert "names code of its own" in said("unet/config.json", auto_map={"AutoModel": "x.Y"})
    assert "is Wan in a form that Easel cannot draw with" in said("model_index.json", _class_name="WanPipeline")
    assert "is a FooPipeline in a form" in said("model_index.json", _class_name="FooPipeline")
    assert "needs code of its own" in said("model_index.json", **{"../up": ["diffusers", "UNet2DConditionModel"]})


def test_a_repository_with_a_part_missing_is_refused_before_it_is_fetched(shelf: Shelf, hub: TinyHub, tiny: Files) -> None:
    def without(*paths: str, **more: bytes) -> str:
        hub.repositories["ada/tiny"] = {path: one for path, one in tiny.items() if not path.startswith(paths)} | more
        return shelf.refused()

    assert "The unet of ada/tiny is a pickle" in without(UNET)
    assert "is not whole on the hub: vae has no whole set of weights" in without("vae/diffusion_pytorch_model.safetensors")
    assert "tokenizer has no settings" in without("tokenizer/")
    assert "no model_index.json" in without("model_index.json")
    hub.repositories["ada/tiny"] = dict(tiny)
    change(hub, "model_index.json", text_encoder=[None, None])
    assert "there is no text_encoder" in shelf.refused()
    hub.repositories["ada/tiny"] = {**tiny, "model_index.json": b"[]"}
    assert "is no table of settings" in shelf.refused()
    hub.repositories["ada/tiny"] = {**tiny, UNET: b"\xff" * 4000}
    assert "is no safetensors file" in shelf.refused()


def test_a_model_that_is_another_than_it_says_is_judged_and_gone(shelf: Shelf, hub: TinyHub) -> None:
    change(hub, "model_index.json", _class_name="StableDiffusionXLPipeline", text_encoder_2=["transformers", "CLIPTextModelWithProjection"])
    change(hub, "model_index.json", tokenizer_2=["transformers", "CLIPTokenizer"])
    files = hub.repositories["ada/tiny"]
    files |= {
        path.replace(part, f"{part}_2", 1): one
        for part in ("text_encoder", "tokenizer")
        for path, one in list(files.items())
        if path.startswith(f"{part}/")
    }
    assert "says that it is SDXL, but its weights are" in shelf.refused()
    assert list((shelf.root / ".downloads").iterdir()) == []


def test_a_disk_without_room_is_said_before_it_begins(shelf: Shelf, hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = shelf.models.look("ada/tiny")
    hub.asked.clear()
    monkeypatch.setattr(hub_module.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))  # type: ignore[attr-defined]
    shelf.models.begin(plan)
    with pytest.raises(EngineError, match=r"There is no room for \d+ MB: the studio's disk has 0 MB left. Free some space"):
        shelf.models.fetch(plan)
    assert hub.ranges() == []


def test_a_disk_that_fills_up_keeps_what_came(shelf: Shelf, hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = shelf.models.look("ada/tiny")
    shelf.models.begin(plan)
    true_write = io.BufferedWriter.write
    room = 500_000

    class Full(io.BufferedWriter):
        def write(self, data: Any) -> int:
            nonlocal room
            room -= len(data)
            if room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return true_write(self, data)

    true_open = Path.open

    def opened(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        return (
            Full(io.FileIO(path, mode.replace("b", ""))) if path.suffix == ".part" and mode in ("wb", "ab") else true_open(path, mode, *rest, **more)
        )

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(EngineError, match=r"no room left on the studio's disk. Free some space"):
        shelf.models.fetch(plan)
    assert shelf.names() == []
    assert 0 < shelf.models.here_bytes(plan) <= 500_000
    monkeypatch.undo()
    assert shelf.models.fetch(plan).name == "tiny"


def test_a_damaged_note_is_no_download(shelf: Shelf) -> None:
    plan = shelf.models.look("ada/tiny")
    shelf.models.begin(plan)
    note = shelf.root / ".downloads" / "tiny" / "plan.json"
    for change in ({"name": "other"}, {"name": "../up"}, {"files": [{"path": "../../x", "target": "x", "size_bytes": 1}]}, {"revision": "main"}):
        note.write_text(json.dumps(json.loads(plan.model_dump_json()) | change))
        assert shelf.models.begun() == []
    note.write_text("{")
    assert shelf.models.begun() == []


# The line


class Line:
    """The line of downloads of one studio."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.downloads = Downloads(shelf.models)

    def start(self, name: str) -> str:
        return self.downloads.start(self.downloads.look(name).id).name

    def one(self, name: str) -> Download | None:
        return next((one for one in self.downloads.all() if one.name == name), None)

    def wait(self, name: str, state: str | None) -> Download | None:
        def is_so() -> bool:
            found = self.one(name)
            return (found.state if found else None) == state

        wait_for(is_so, 30, f"{name} to be {state}")
        return self.one(name)


@pytest.fixture
def line(shelf: Shelf, hub: TinyHub) -> Iterator[Line]:
    for owner in ("bob", "eve"):
        hub.repositories[f"{owner}/{owner}s"] = hub.repositories["ada/tiny"]
    made = Line(shelf)
    yield made
    hub.goes_on.set()
    made.downloads.close()


def test_downloads_come_one_at_a_time_in_order(line: Line, hub: TinyHub) -> None:
    looks = [line.downloads.look(name) for name in ("ada/tiny", "bob/bobs", "eve/eves")]
    hub.goes_on.clear()
    for plan in looks:
        line.downloads.start(plan.id)
    line.wait("tiny", "fetching")
    assert [(one.name, one.state) for one in line.downloads.all()] == [("tiny", "fetching"), ("bobs", "waiting"), ("eves", "waiting")]
    with pytest.raises(EngineError, match="is on its way already"):
        line.downloads.start(looks[1].id)
    line.downloads.stop("bobs")
    hub.goes_on.set()
    line.wait("eves", None)
    assert line.shelf.names() == ["eves", "tiny"]
    assert [(one.name, one.state) for one in line.downloads.all()] == [("bobs", "stopped")]
    line.downloads.resume("bobs")
    line.wait("bobs", None)
    assert line.shelf.names() == ["bobs", "eves", "tiny"]


def test_where_a_download_stands_is_true(line: Line, hub: TinyHub) -> None:
    plan = line.downloads.look("ada/tiny")
    hub.bytes_per_s = 1_500_000
    line.downloads.start(plan.id)
    seen: list[Download] = []
    wait_for(lambda: (one := line.one("tiny")) is not None and seen.append(one) is None and one.bytes_per_s is not None, 30, "a speed")
    told = seen[-1]
    assert (told.source, told.licence, told.files) == (plan.id, "openrail++", len(plan.files))
    assert 0 < told.here_bytes <= told.total_bytes == plan.size_bytes
    assert told.bytes_per_s is not None
    # In the order of what the line gives; how much less is this machine's business.
    assert 0 < told.bytes_per_s < 6_000_000
    assert told.left_s == pytest.approx((told.total_bytes - told.here_bytes) / told.bytes_per_s, rel=0.01)
    assert 0 <= told.file_here_bytes <= told.file_bytes
    assert told.file in {one.path for one in plan.files}
    hub.bytes_per_s = None
    line.wait("tiny", None)


def test_a_cancelled_download_keeps_what_came_until_it_is_removed(line: Line, hub: TinyHub) -> None:
    plan = line.downloads.look("ada/tiny")
    hub.bytes_per_s = 1_000_000
    line.downloads.start(plan.id)
    wait_for(lambda: (one := line.one("tiny")) is not None and one.here_bytes > 200_000, 30, "some of it")
    line.downloads.stop("tiny")
    stopped = line.one("tiny")
    assert stopped is not None
    assert (stopped.state, stopped.is_open) == ("stopped", False)
    assert stopped.here_bytes > 200_000
    # Another studio on the same folder sees it too, and may go on with it.
    again = Downloads(line.shelf.models)
    assert [(one.name, one.state, one.here_bytes > 200_000) for one in again.all()] == [("tiny", "stopped", True)]
    again.close()
    line.downloads.remove("tiny")
    wait_for(lambda: not list((line.shelf.root / ".downloads").iterdir()), 10, "what came to be gone")
    assert line.downloads.all() == ()
    assert line.shelf.names() == []
    with pytest.raises(EngineError, match="Nothing of that name was begun"):
        line.downloads.resume("tiny")


def test_a_download_is_removed_while_it_runs(line: Line, hub: TinyHub) -> None:
    hub.bytes_per_s = 500_000
    line.start("ada/tiny")
    wait_for(lambda: (one := line.one("tiny")) is not None and one.here_bytes > 100_000, 30, "some of it")
    line.downloads.remove("tiny")
    assert line.downloads.all() == ()
    hub.bytes_per_s = None
    wait_for(lambda: not list((line.shelf.root / ".downloads").iterdir()), 10, "what came to be gone")
    # And fetched anew as if nothing had been.
    line.start("ada/tiny")
    line.wait("tiny", None)
    assert line.shelf.names() == ["tiny"]


def test_begun_again_at_once_after_it_was_removed_it_keeps_its_note(line: Line, hub: TinyHub, shelf: Shelf) -> None:
    """The thread that was at it may still hang in the hub, and throws away what it finds once it is let go"""
    plan = line.downloads.look("ada/tiny")
    hub.goes_on.clear()
    line.downloads.start(plan.id)
    line.wait("tiny", "fetching")
    line.downloads.remove("tiny")
    assert line.one("tiny") is None
    with pytest.raises(Busy, match="being thrown away"):
        line.downloads.start(plan.id)
    hub.goes_on.set()

    def begins() -> bool:
        try:
            return line.downloads.start(plan.id).name == "tiny"
        except Busy:
            return False

    wait_for(begins, 30, "it to be let go")
    line.wait("tiny", None)
    assert shelf.names() == ["tiny"]
    assert shelf.models.begun() == []


def test_what_failed_says_why_and_can_be_tried_again(line: Line, hub: TinyHub) -> None:
    plan = line.downloads.look("ada/tiny")
    hub.broken = {UNET: 403}
    line.downloads.start(plan.id)
    failed = line.wait("tiny", "failed")
    assert failed is not None
    assert "does not let this machine read ada/tiny (403). Its owner has to let you in" in failed.error
    hub.broken = {}
    line.downloads.resume("tiny")
    line.wait("tiny", None)
    assert line.shelf.names() == ["tiny"]


def test_only_what_somebody_looked_at_is_started(line: Line, shelf: Shelf) -> None:
    with pytest.raises(EngineError, match="names no commit"):
        line.downloads.start("ada/tiny")
    assert line.downloads.all() == ()
    # A commit means the same to a studio that was started since.
    plan = shelf.models.look("ada/tiny")
    assert Downloads(shelf.models).start(plan.id).name == "tiny"
    line.wait("tiny", None)


def test_the_second_stable_diffusion_is_called_so(tiny: Files, tmp_path: Path) -> None:
    """Its pipeline is the first one's; what its denoiser hears tells them apart before anything is fetched."""
    wide = json.dumps(json.loads(tiny["unet/config.json"]) | {"cross_attention_dim": 1024}).encode()
    with TinyHub({"ada/tiny": tiny | {"unet/config.json": wide}, "ada/first": dict(tiny)}, CARD) as running:
        models = HubModels(tmp_path / "models", Hub(running.endpoint))
        assert [models.look(name).family for name in ("ada/tiny", "ada/first")] == ["sd2", "sd1"]
