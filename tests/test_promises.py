"""SECURITY.md keeps its word: each rule has its tests, and they are there; and what the code itself shows about packages, pickles and fetching."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.figures import ROWS
from tests.test_doors import ROOT, imports_of

SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", SECURITY)))


def functions(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)]


def test_every_rule_has_tests_and_they_exist() -> None:
    rows = re.findall(r"^\| (\d+) [^|]+\|[^|]+\|([^|]+)\|$", SECURITY, re.MULTILINE)
    assert {int(number) for number, _ in rows} == set(range(1, 12))
    assert all(re.search(r"::test_", tests) for _, tests in rows)
    assert len(NAMED) >= 40
    missing = [f"{file}::{name}" for file, name in NAMED if not (ROOT / file).is_file() or name not in {one.name for one in functions(ROOT / file)}]
    assert missing == []


def test_every_fault_has_a_test() -> None:
    marked = {
        row for path in (ROOT / "tests").rglob("test_*.py") for row in re.findall(r'mark\.fault\("([^"]+)"\)', path.read_text(encoding="utf-8"))
    }
    assert marked == set(ROWS)


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt", "requirements-mcp.txt"])
def test_every_package_is_pinned(file: str) -> None:
    lines = [line for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if line.strip() and not line.startswith(("#", "-r "))]
    assert lines
    assert [line for line in lines if not re.match(r"[A-Za-z0-9_.\-]+(\[[a-z,]+\])?==\d[\w.]*(\s+#.*)?$", line)] == []


def modules(*folders: str) -> list[Path]:
    return [ROOT / "app.py", *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))]


def test_nothing_is_installed_while_the_studio_runs() -> None:
    """No module of the house can start another program, pip least of all, but two that ask a fixed question in fixed words."""
    starters = ("subprocess", "pip", "ensurepip", "venv", "pty")
    found = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in modules("engine", "ui") if imports_of(path) & set(starters)
    }
    # How much memory a graphics card has; and, when the starter is trained, the commit that its code stands at.
    assert set(found) <= {"engine/machine.py", "engine/starter/export.py"}
    assert all(text.count("subprocess.run(") == 1 for text in found.values())
    assert all('_ASK = ("nvidia-smi", ' in text or '["git", "describe", ' in text for text in found.values())
    called = re.compile(r"\bos\.(system|popen|exec\w+|spawn\w+|posix_spawn)\b")
    assert [str(path) for path in modules("engine", "ui") if called.search(path.read_text(encoding="utf-8"))] == []


def test_one_module_can_fetch() -> None:
    """Of all that can open a line to another machine, only the hub's client is used, and in the one place that operators reach."""
    lines = ("requests", "httpx", "aiohttp", "urllib.request", "urllib3", "http.client", "ftplib", "fsspec")
    assert [str(path) for path in modules("engine", "ui") for name in imports_of(path) if name.startswith(lines)] == []
    fetching = re.compile(r"\b(HfApi|get_session|snapshot_download|load_state_dict_from_url|download_url_to_file)\b")
    found = [path.relative_to(ROOT).as_posix() for path in modules("engine", "ui") if fetching.search(path.read_text(encoding="utf-8"))]
    assert found == ["engine/library/hub.py"]


def test_nothing_that_draws_unpickles() -> None:
    """`torch.load` is for the training's own checkpoints, which never leave the machine that wrote them, and there for weights only."""
    for path in modules("engine", "ui"):
        for call in (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            if name in ("pickle.load", "pickle.loads", "joblib.load", "np.load", "numpy.load"):
                assert "allow_pickle=True" not in ast.unparse(call), path
                assert name.endswith("np.load") or name == "numpy.load", path
            if name == "torch.load":
                assert "engine/starter" in path.as_posix(), path
                assert "weights_only=True" in ast.unparse(call), path


@pytest.mark.parametrize("worker", ["inline", "process", "maps"])
def test_models_bring_no_code(worker: str, tmp_path: Path) -> None:
    """The library that loads models was told so before it was there, wherever it is loaded."""
    for path in modules("engine", "ui"):
        assert "trust_remote_code=True" not in path.read_text(encoding="utf-8"), path
    if worker != "inline":
        file, name, drawing = {"process": ("worker.py", "serve", "import Painter"), "maps": ("maps.py", "serve_maps", "import MapMaker")}[worker]
        begin = next(one for one in functions(ROOT / "engine/jobs/hosts" / file) if one.name == name)
        inside = (node for node in ast.walk(begin) if isinstance(node, (ast.Expr, ast.ImportFrom)))
        lines = [ast.unparse(node) for node in sorted(inside, key=lambda node: node.lineno)]
        assert lines.index("prepare_libraries()") < next(number for number, line in enumerate(lines) if drawing in line)
        return
    code = (
        "import sys; from pathlib import Path; from engine import Engine, Settings\n"
        f"with Engine(Settings(data=Path({str(tmp_path)!r}), worker='inline', device='cpu', dtype='float32')):\n"
        "    from diffusers.utils.constants import DIFFUSERS_DISABLE_REMOTE_CODE as told\n"
        "    sys.exit(0 if told else 'remote code could be run')"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-500:]
