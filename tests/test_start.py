"""What stands in the terminal of a person who starts the studio: Easel's own words, and nobody else's."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from gradio_client import Client

from tests.studio import ROOT, Studio, wait_for

# A process that draws, and torch speaking of something else in the place where it speaks of the enums.
TORCH_SPEAKS = """
import sys
from engine.diffusion.libraries import prepare_libraries
prepare_libraries()
from engine.diffusion.painter import Painter
assert "torchao.quantization" in sys.modules
import torch.utils._pytree as pytree
pytree.log.warning("%s is not what it was", "a tree")
"""


@pytest.mark.parametrize("memory", ["automatic", "int8"])
def test_the_terminal_holds_our_own_lines_alone(memory: str, tmp_path: Path) -> None:
    """diffusers imports torchao where it is installed, as it is here, and torch and diffusers used to speak of that; in int8 it draws."""
    assert version("torchao")
    with Studio(tmp_path / "data", "--memory", memory, errors=tmp_path / "stderr") as studio:
        studio.wait_ready()
        assert (studio.log, lines(tmp_path / "stderr")) == ([f"Easel is at {studio.url}\n"], [])
        client = Client(studio.url, verbose=False)
        *_, last = client.submit("a red castle", steps=1, width=64, height=64, api_name="/txt2img")
        assert last["state"] == "done"
    assert studio.log == [f"Easel is at {studio.url}\n"]
    shown = [re.sub(r"time=\S+|job=\w+", "", line).split() for line in lines(tmp_path / "stderr")]
    assert shown == [
        ["level=info", "room=easel.engine", "steps=1", "said=accepted"],
        ["level=info", "room=easel.jobs", "ending=finished", "said=ended"],
    ]


def test_what_else_torch_says_is_heard() -> None:
    done = subprocess.run([sys.executable, "-c", TORCH_SPEAKS], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert [line.endswith("a tree is not what it was") for line in done.stderr.splitlines()] == [True]


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def test_a_port_that_is_taken_is_one_sentence_and_starts_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "app.py", "--port", port, "--data", str(tmp_path / "data")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"Port {port} of 127.0.0.1 cannot be used: Address already in use. Choose another one with --port.\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_can_be_broken_off(number: int, tmp_path: Path) -> None:
    command = [sys.executable, "app.py", "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # The database is there: it is in the middle of starting.
        wait_for(lambda: (tmp_path / "data" / "easel.db").exists() or process.poll() is not None, 120, "the start")
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 130), errors
    assert "Traceback" not in out + errors
