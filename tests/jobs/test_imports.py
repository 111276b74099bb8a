"""The start of a process that draws searches nothing for garbage; what it makes afterwards is searched as ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = """
import gc, json, weakref
from engine.jobs.hosts.imports import importing

searches = []
gc.callbacks.append(lambda phase, about: searches.append(about["generation"]) if phase == "start" else None)
if {with_care}:
    with importing():
        import diffusers.utils
else:
    import diffusers.utils
during, frozen = len(searches), gc.get_freeze_count()

class Cycle:
    pass

one = Cycle()
one.itself, seen = one, weakref.ref(one)
del one
gc.collect()
print(json.dumps([during, frozen, gc.isenabled(), seen() is None]))
"""


def started(*, with_care: bool) -> tuple[int, int, bool, bool]:
    """Searches while importing, objects that are not looked through, whether it is on afterwards, whether it finds new garbage."""
    command = [sys.executable, "-W", "ignore", "-c", START.format(with_care=with_care)]
    return json.loads(subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True).stdout)


def test_imports_are_not_searched_and_what_follows_is() -> None:
    searches, frozen, is_on, finds = started(with_care=True)
    usual_searches, usual_frozen, *_ = started(with_care=False)
    assert (searches, is_on, finds) == (0, True, True)
    assert frozen > 50_000
    assert usual_searches > 100
    assert usual_frozen == 0
