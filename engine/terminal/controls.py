"""Control units as one flag says them, and the weights of preprocessors fetched by an operator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from engine import InvalidRequest

EXAMPLE = "canny:sketch.png:0.8"
# A file may have colons in its name; what follows it is told from it by being a number.
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
_UNIT = re.compile(
    rf"(?P<preprocessor>[^:]+):(?P<file>.+?)(?::(?P<weight>{_NUMBER})(?::(?P<start>{_NUMBER})-(?P<end>{_NUMBER}))?(?::(?P<control>[^:]+))?)?"
)


def read_unit(text: str) -> tuple[Path, dict[str, Any]]:
    """Picture and values of "preprocessor:file:weight:start-end:model", of which the last three may be left out."""
    found = _UNIT.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(f"--control is written like this: --control {EXAMPLE}", "Behind it may follow :start-end and :model.", "control")
    values = {name: value.strip() for name, value in found.groupdict().items() if value is not None}
    return Path(values.pop("file")), values
