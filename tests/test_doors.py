"""The doors between the rooms, read from the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it; names that only types need are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        for name, field in ast.iter_fields(node):
            if name == "body" and isinstance(field, list):
                node.body = [n for n in field if not (isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")]
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def offenders(folder: str, *, forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    result: list[str] = []
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files, folder
    for path in files:
        for module in imports_of(path):
            is_forbidden = any(module == name or module.startswith(name + ".") for name in forbidden)
            if is_forbidden and module not in allowed:
                result.append(f"{path.relative_to(ROOT)} imports {module}")
    return result


@pytest.mark.parametrize(
    ("folder", "forbidden", "allowed"),
    [
        ("ui", ("torch", "diffusers", "transformers"), ()),
        ("engine", ("gradio", "ui"), ()),
        ("engine/contract", ("torch", "engine.jobs", "engine.library", "engine.diffusion", "engine.starter"), ()),
        ("engine/weights", ("torch", "engine.diffusion", "engine.jobs", "engine.library", "engine.starter"), ()),
        ("engine/library", ("torch", "engine.diffusion", "engine.jobs", "engine.starter"), ()),
        (
            "engine/jobs",
            ("torch", "engine.starter", "engine.diffusion"),
            ("engine.diffusion.libraries", "engine.diffusion.painter", "engine.diffusion.preprocessors"),
        ),
        ("engine/diffusion", ("engine.jobs", "engine.library", "engine.starter", "ui"), ()),
        ("engine/starter", ("engine.jobs", "engine.library", "ui"), ()),
    ],
)
def test_doors_open_the_right_way(folder: str, forbidden: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    assert offenders(folder, forbidden=forbidden, allowed=allowed) == []


def test_the_page_enters_the_engine_by_its_door_only() -> None:
    for path in (ROOT / "ui").rglob("*.py"):
        assert not {m for m in imports_of(path) if m.startswith("engine.")}, path


def test_presets_hold_no_code() -> None:
    assert not list((ROOT / "presets").rglob("*.py"))


@pytest.mark.parametrize("module", ["engine", "app", "ui.server", "ui.page"])
def test_importing_brings_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
