"""Borrowed GPUs: how long one is asked for, and that the studio needs no lender."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.contract.work import Work
from engine.jobs.hosts.inline import InlineHost
from engine.jobs.hosts.lending import lent, wanted_s
from tests.jobs.crowd import RECIPE


@pytest.mark.parametrize(("expected", "asked"), [(None, 60), (0.2, 11), (20.0, 40), (100.0, 160)])
def test_a_device_is_borrowed_for_a_little_longer_than_expected(expected: float | None, asked: int) -> None:
    assert wanted_s(Work("a" * 32, RECIPE, Path(), expected_s=expected)) == asked


def test_where_nothing_is_lent_the_device_is_ones_own() -> None:
    if find_spec("spaces") is None:
        assert lent(InlineHost()._draw) is None  # pyright: ignore[reportPrivateUsage]
