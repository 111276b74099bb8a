"""What the tests share. The model is the bundled starter: real, trained, and quick on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine import Engine, Event, Settings, TextToImage
from engine.library.catalogue import BUNDLED
from tests.faults.figures import check_rows, figure

__all__ = ["figure"]

STARTER = BUNDLED / "starter"
OWNER = "visitor-test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    check_rows(items)
    for item in items:
        if item.get_closest_marker("timed"):
            item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=["AssertionError"]))


@pytest.fixture
def request_of() -> Callable[..., TextToImage]:
    """A small, quick request; any field can be set."""

    def make(**fields: object) -> TextToImage:
        return TextToImage.model_validate({"prompt": "a red castle at sunset", "steps": 4, "width": 64, "height": 64, "seed": 7, **fields})

    return make


@pytest.fixture
def inline_engine(tmp_path: Path) -> Iterator[Engine]:
    """The whole engine with the model in this process, in float32: exact comparisons need no tolerance for the machine."""
    with Engine(Settings(data=tmp_path, worker="inline", dtype="float32", device="cpu")) as engine:
        yield engine


def events_of(engine: Engine, job_id: str, owner: str = OWNER) -> list[Event]:
    """Every event up to the ending."""
    with engine.watch(job_id, owner=owner) as watch:
        return list(watch)
