"""The program in the README is run as it stands there, against a studio that is really running."""

from __future__ import annotations

import subprocess
import sys

from tests.studio import ROOT, Studio


def code_of_the_readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- client -->")[1].split("```python")[1].split("```")[0]


def test_the_program_in_the_readme_runs(studio: Studio) -> None:
    code = code_of_the_readme().replace("http://127.0.0.1:7860", studio.url)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    # The client says first where it is.
    _, first, *messages = done.stdout.splitlines()
    assert first.startswith("1 http://")
    assert first.endswith("&download=1")
    assert any(message.startswith("drawing ") for message in messages)
    assert messages[-1].strip() == "done"


def test_it_has_ten_lines_at_most() -> None:
    assert len([line for line in code_of_the_readme().splitlines() if line.strip()]) <= 10
