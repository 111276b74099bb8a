"""The soak of `make soak`, short: ten visitors for ten seconds. The slope of memory is left to the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.figures import Figures
from tests.soak import P95_S, soak


@pytest.mark.slow
@pytest.mark.fault("100 visitors")
@pytest.mark.timed
def test_ten_visitors_for_ten_seconds(tmp_path: Path, figure: Figures) -> None:
    """A soak of 10 clients for 10 s; make soak runs 100 for three minutes"""
    found = soak(tmp_path / "data", clients=10, seconds=10)
    assert found.errors == []
    assert found.left == []
    figure("jobs drawn", len(found.drawn), at_least=10)
    figure("jobs lost", found.lost, equals=0)
    figure("jobs drawn twice", found.twice, equals=0)
    figure("pictures at a wrong visitor", found.strange, equals=0)
    figure("accepted after, p95", found.p95_s, "s", at_most=P95_S)
    figure("exit code", found.exit_code, equals=0)
