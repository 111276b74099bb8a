"""More than two hundred names that try to leave their folder, against every place that takes a name. Nothing outside is opened."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, EngineError, ImageToImage, NotFound, Settings, parse_request
from engine.library.safe_path import safe_path
from tests.conftest import OWNER
from tests.faults.figures import Figures

_UP = (
    "../",
    "..\\",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    "..%5c",
    "..%c0%af",
    "..%252f",
    "..;/",
    "....//",
    "..//",
    "../\\",
    "..\u2215",
    "..\uff0f",
    "\u2025/",
    "..\0/",
    "./../",
    ".. /",
)
_TARGETS = (
    "secret",
    "secret.safetensors",
    "outside/secret.safetensors",
    "etc/passwd",
    "easel.db",
    "model_index.json",
    "secret\0.png",
    "secret.png",
    "secret.json",
    "secret.txt",
)
PAYLOADS = [
    *(up * depth + target for up in _UP for depth in (1, 3) for target in _TARGETS),
    "", ".", "..", "...", "/", "\\", "//", "~", "~root", "~/secret", "/etc/passwd", "C:\\secret", "C:secret", "\\\\host\\share", "file:///etc/passwd",
    "http://example.com/x", "secret/", "secret/.", "starter/..", "starter/../../secret", "link", "link/secret", "con", "nul", "aux.txt", "a" * 65, "a" * 5000,
    "a\nb", "a\rb", "a\tb", " ", " starter", "starter ", "starter\0", "\0", "stárter", "ｓｔａｒｔｅｒ", "starter\u202e", "*", "?", "[a-z]*", "s*", "{a,b}", "**/*", "$(id)",
    "`id`", "$HOME", "%00", "-rf", "--help", "|", ";", "&", "<script>", "'", '"', "' or 1=1 --", "\ud800",
]  # fmt: skip


class Watcher:
    """Every path that Python opens, lists or renames while it watches. An audit hook cannot be removed, so it is switched."""

    def __init__(self) -> None:
        self.is_on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.is_on and event in ("open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.link", "os.symlink", "os.rmdir"):
            self.seen += [str(one) for one in arguments[:2] if isinstance(one, (str, bytes, Path))]


@pytest.fixture(scope="module")
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def engine(outside: Path) -> Iterator[Engine]:
    """A studio in a world where everything that a name could reach by mistake is really there."""
    data = outside / "data"
    made = Engine(Settings(data=data))
    bundled = Path(__file__).resolve().parents[2] / "presets"
    for place in (outside, data, outside / "outside"):
        place.mkdir(exist_ok=True)
        for name in ("secret", "secret.png", "secret.json", "secret.txt", "secret.safetensors"):
            (place / name).write_bytes(b"canary")
        shutil.copy(bundled / "loras" / "ink.safetensors", place / "secret.safetensors")
        (place / "model_index.json").write_text("{}", encoding="utf-8")
    for folder in ("models", "loras", "embeddings", "wildcards", "upscalers", "styles", "inputs", "images"):
        (data / folder).mkdir(exist_ok=True)
        (data / folder / "link").symlink_to(outside / "outside")
        (data / folder / "link.png").symlink_to(outside / "outside" / "secret.png")
    yield made
    made.close()


def _request(engine: Engine, **values: object) -> object:
    return engine._resolver.recipe(parse_request({"prompt": "x", **values}), OWNER)


# Every place that takes a name from outside.
FIELDS: dict[str, Callable[[Engine, str], object]] = {
    "models": lambda engine, name: _request(engine, model=name),
    "models, past the contract": lambda engine, name: engine._shelves.models.folder(name),
    "words of a model": lambda engine, name: engine.words("x", name or "/"),
    "loras": lambda engine, name: _request(engine, loras=[{"name": name}]),
    "loras, past the contract": lambda engine, name: engine._shelves.loras.path(name),
    "pictures of loras": lambda engine, name: engine.lora_picture(name),
    "embeddings": lambda engine, name: engine._shelves.embeddings.path(name),
    "wildcards": lambda engine, name: engine._shelves.wildcards.lines(name, "prompt"),
    "upscalers": lambda engine, name: engine._shelves.upscalers.path(name),
    "styles": lambda engine, name: engine.style(name),
    "sheets": lambda engine, name: engine.sheets.get(name, OWNER),
    "pictures": lambda engine, name: engine.picture(name),
    "pictures as a source": lambda engine, name: engine.input_from_picture(name, OWNER),
    "pictures as a file": lambda engine, name: engine.picture_file(name, "webp"),
    "inputs": lambda engine, name: engine.input_path(name),
    "sources": lambda engine, name: engine._resolver.recipe(ImageToImage.model_construct(source=name, prompt="x"), OWNER),
    "masks": lambda engine, name: engine.add_mask(name, b"", OWNER),
    "jobs": lambda engine, name: engine.duplicate(name, OWNER),
}


def test_there_are_more_than_two_hundred() -> None:
    print(f"{len(set(PAYLOADS))} names × {len(FIELDS)} places")
    assert len(set(PAYLOADS)) >= 200


@pytest.mark.usefixtures("engine")
def test_the_one_way_to_a_path_stays_inside(outside: Path) -> None:
    root = outside / "data" / "models"
    inside = 0
    for name in PAYLOADS:
        try:
            assert safe_path(root, name).parent == root.resolve(), name
            inside += 1
        except NotFound:
            pass
    # Odd, but names: "...", "-rf", "con".
    assert inside < 12


@pytest.mark.fault("hostile names")
@pytest.mark.parametrize("field", FIELDS)
def test_no_name_leads_out(engine: Engine, outside: Path, watcher: Watcher, field: str, figure: Figures) -> None:
    """418 names against every place that takes one, every file that is opened watched by an audit hook"""
    tried = found = 0
    for name in PAYLOADS:
        watcher.seen.clear()
        watcher.is_on = True
        try:
            FIELDS[field](engine, name)
            refused = False
        except (EngineError, UnicodeEncodeError):
            refused = True
        finally:
            watcher.is_on = False
        assert refused, name
        found += _found_outside(watcher, outside)
        tried += 1
    figure("names", tried, at_least=200)
    figure("reads or writes outside", found, equals=0)


def _found_outside(watcher: Watcher, outside: Path) -> int:
    """How many of the paths that were touched are none of the studio's."""
    data, found = outside / "data", 0
    ours = [Path(one.split("\0")[0]) for one in watcher.seen if one.startswith(str(outside)) or "passwd" in one]
    for path in ours:
        where = path.parent.resolve() / path.name
        is_canary = where.parent == data and where.name in ("secret", "secret.png", "secret.json", "secret.txt", "secret.safetensors")
        if is_canary or not (where == data or data in where.parents):
            print(f"touched: {path}")
            found += 1
    return found


def test_names_that_are_names_are_found(engine: Engine) -> None:
    assert safe_path(engine.settings.data / "models", "starter").name == "starter"
    assert engine._shelves.loras.path("ink").is_file()
    with pytest.raises(NotFound):
        engine.picture("0" * 32)
