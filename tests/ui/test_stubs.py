"""A start reads and writes nothing that is for editors."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.figures import Figures

ROOT = Path(__file__).resolve().parents[2]
IMPORT = """
import json, sys, time
stubs = []
sys.addaudithook(lambda event, about: stubs.append(about[0]) if event == "open" and str(about[0]).endswith(".pyi") else None)
if {alone}:
    from ui.stubs import leave_stubs_alone
    leave_stubs_alone()
begin = time.perf_counter()
import gradio
print(json.dumps([len(stubs), time.perf_counter() - begin, gradio.Button.click.__name__, len(sys.meta_path)]))
"""


def imported(*, alone: bool) -> tuple[int, float, str, int]:
    """Stubs that were opened, seconds, an event's name, finders left behind."""
    command = [sys.executable, "-W", "ignore", "-c", IMPORT.format(alone=alone)]
    return json.loads(subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.timed
def test_a_start_leaves_the_stubs_of_editors_alone(figure: Figures) -> None:
    ratios: list[float] = []
    for _ in range(3):
        (left, seconds, event, finders), (read, usual_s, usual_event, usual_finders) = imported(alone=True), imported(alone=False)
        assert read > 50, "the framework parses no stubs any more: ui/stubs.py can go"
        assert (left, event, finders) == (0, usual_event, usual_finders)
        ratios.append(seconds / usual_s)
    figure("importing the framework, as a share of what it takes by itself", statistics.median(ratios), at_most=0.8, unit="×")
